"""Texts written by the trained network, for the report."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from model.runtime.contract import Runtime
from model.sampling import SamplingParams, SamplingPlan
from model.tokenizers import Tokenizer

TEMPERATURES = (0.4, 0.7, 1.0)
SAMPLE_TOKENS = 160


@dataclass(frozen=True)
class Sample:
    """A text written by the trained network.

    Attributes:
        prompt: what it had to go on from.
        temperature: of the sampling.
        text: what it wrote.
    """

    prompt: str
    temperature: float
    text: str


def write_samples(
    runtime: Runtime, tokenizer: Tokenizer, prompt: Sequence[int], seed: int
) -> list[Sample]:
    """One text per temperature, all going on from the same prompt.

    They are written side by side, one row each. A text ends early where the network ends its
    document.

    Args:
        runtime: the network as it will be served.
        tokenizer: its tokenizer.
        prompt: token ids, led by the end-of-text token; that alone asks for new documents.
        seed: of the sampling.
    """
    plan = SamplingPlan(
        [SamplingParams(temperature=temperature, seed=seed) for temperature in TEMPERATURES],
        never=[] if tokenizer.unknown_id is None else [tokenizer.unknown_id],
    )
    read = np.tile(np.asarray(prompt, np.int32), (len(TEMPERATURES), 1))
    state = runtime.prefill(read[:, :-1], runtime.initial_state(len(read)))
    token_ids, written = read[:, -1], []
    for position in range(SAMPLE_TOKENS):
        logits, state = runtime.step(np.ascontiguousarray(token_ids), state)
        token_ids = plan.sample(logits, [position] * len(read))
        written.append(token_ids)
    return [
        Sample(
            prompt=tokenizer.decode(prompt),
            temperature=temperature,
            text=tokenizer.decode(_until(row.tolist(), tokenizer.end_of_text_id)),
        )
        for temperature, row in zip(TEMPERATURES, np.stack(written, axis=1), strict=True)
    ]


def _until(token_ids: list[int], end: int) -> list[int]:
    return token_ids[: token_ids.index(end)] if end in token_ids else token_ids
