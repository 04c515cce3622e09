"""Totals over the scored tokens of a text: perplexity and its relatives."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

#: Beyond it exp overflows; a perplexity of 1e299 says as much as one of 1e300.
_MAX_NATS = 690.0


class TextScore(NamedTuple):
    """How likely a text is; the ratios are None where there is nothing to divide by.

    Attributes:
        total_logprob: sum over the scored tokens, in nats.
        mean_logprob: over the scored tokens.
        perplexity: exp(-mean).
        bits_per_token: -mean / ln 2.
        bits_per_character: -total / ln 2 over the characters the scored tokens stand for.
        bits_per_byte: the same over their bytes in UTF-8.
    """

    total_logprob: float
    mean_logprob: float | None
    perplexity: float | None
    bits_per_token: float | None
    bits_per_character: float | None
    bits_per_byte: float | None


def score_text(logprobs: Sequence[float], num_characters: int, num_bytes: int) -> TextScore:
    """Totals over ``logprobs``, which belong to a text of that many characters and bytes."""
    total = math.fsum(logprobs)
    mean = total / len(logprobs) if logprobs else None
    return TextScore(
        total,
        mean,
        perplexity(logprobs),
        _bits(total, len(logprobs)),
        _bits(total, num_characters) if logprobs else None,
        _bits(total, num_bytes) if logprobs else None,
    )


def perplexity(logprobs: Sequence[float]) -> float | None:
    """exp(-mean logprob); None for no tokens. Never so large that it overflows."""
    if not logprobs:
        return None
    return math.exp(min(-math.fsum(logprobs) / len(logprobs), _MAX_NATS))


def _bits(total_logprob: float, count: int) -> float | None:
    return -total_logprob / math.log(2) / count + 0.0 if count else None
