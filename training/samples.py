"""Texts written by the trained network, for the report."""

from __future__ import annotations

import numpy as np

from model.runtime.contract import Runtime
from model.tokenizers.tokenizer import Tokenizer
from training.report import Sample

TEMPERATURES = (0.4, 0.7, 1.0)
SAMPLE_TOKENS = 160
PROMPT_TOKENS = 16


def write_samples(
    runtime: Runtime, tokenizer: Tokenizer, test_ids: list[int], seed: int
) -> list[Sample]:
    """One text per temperature, all going on from the first words of the test text.

    All are written side by side, one row each. A text ends early where the network ends its
    document.

    Args:
        runtime: the network as it will be served.
        tokenizer: its tokenizer.
        test_ids: the beginning of the test text, led by the end-of-text token.
        seed: of the sampling.
    """
    prompt = test_ids[:PROMPT_TOKENS]
    temperatures = np.asarray(TEMPERATURES)[:, None]
    random = np.random.default_rng(seed)
    rows = len(TEMPERATURES)
    read = np.tile(np.asarray(prompt, np.int32), (rows, 1))
    state = runtime.prefill(read[:, :-1], runtime.initial_state(rows))
    token_ids, written = read[:, -1], []
    for _ in range(SAMPLE_TOKENS):
        logits, state = runtime.step(np.ascontiguousarray(token_ids), state)
        # The largest of logits plus Gumbel noise is a draw from their softmax (Gumbel 1954).
        noise = random.gumbel(size=logits.shape)
        token_ids = np.argmax(logits / temperatures + noise, axis=1).astype(np.int32)
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
