"""Whether a job fits the model, checked before it can do harm to others in its batch."""

from __future__ import annotations

from model.config import ModelConfig
from service.engine.request import Job

#: The least value of every count in a job.
_LEAST = {
    "max_tokens": 0,
    "min_tokens": 0,
    "logprobs": 0,
    "prompt_logprobs": 0,
    "prompt_logprobs_from": 0,
    "next_top_k": 1,
    "tokens_per_event": 1,
}


def find_fault(job: Job, config: ModelConfig) -> str | None:
    """What is wrong with ``job`` for this model, in words; None if nothing is."""
    try:
        return _find_fault(job, config)
    except TypeError as error:
        return f"the job is malformed: {error}"


def _find_fault(job: Job, config: ModelConfig) -> str | None:
    for token_ids in (job.prompt_token_ids, job.stop_token_ids, job.sampling.logit_bias):
        for extreme in (min(token_ids, default=0), max(token_ids, default=0)):
            if not 0 <= extreme < config.vocab_size:
                return f"token id {extreme} is outside the vocabulary of {config.vocab_size}"
    state_bytes = 4 * config.state_size
    if job.state is not None and len(job.state) != state_bytes:
        return f"the state has {len(job.state)} bytes; this model's has {state_bytes}"
    for name, least in _LEAST.items():
        value = getattr(job, name)
        if value is not None and value < least:
            return f"{name} is {value}; it must be at least {least}"
    if job.growth is not None and job.max_tokens:
        return "a job either samples tokens or grows a tree, not both"
    return None
