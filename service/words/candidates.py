"""Several continuations compared: their shares of the probability, and their order."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from model.tokenizers.tokenizer import Tokenizer


class Candidate(NamedTuple):
    """A continuation, as text and as tokens."""

    text: str
    token_ids: tuple[int, ...]


def tokenize_candidates(
    tokenizer: Tokenizer, candidates: Sequence[str | tuple[int, ...]]
) -> list[Candidate]:
    """Each of ``candidates`` as text and tokens; texts are tokenized by themselves."""
    return [
        Candidate(candidate, tuple(tokenizer.encode(candidate)))
        if isinstance(candidate, str)
        else Candidate(tokenizer.decode(candidate, skip_special=False), candidate)
        for candidate in candidates
    ]


def count_tokens(candidates: Iterable[Candidate]) -> int:
    """The tokens of all ``candidates`` together."""
    return sum(len(candidate.token_ids) for candidate in candidates)


def shares(logprobs: Sequence[float]) -> list[float]:
    """The probabilities, divided by their sum."""
    largest = max(logprobs, default=0.0)
    weights = [math.exp(logprob - largest) for logprob in logprobs]
    total = math.fsum(weights)
    return [weight / total for weight in weights]


def ranks(values: Sequence[float]) -> list[int]:
    """The place of each in descending order, from 1; of equals the first is the better."""
    order = sorted(range(len(values)), key=lambda index: -values[index])
    places = [0] * len(values)
    for place, index in enumerate(order, start=1):
        places[index] = place
    return places
