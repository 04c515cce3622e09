"""How the tokens of one sequence are drawn: ``SamplingParams``. Owns the bounds, no numerics."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

from model.errors import ConfigurationError

#: A ``logit_bias`` at or below the first forbids a token; one at or above the second forces it.
FORBIDDING_BIAS = -100.0
FORCING_BIAS = 100.0

_BOUNDS: Mapping[str, tuple[float, float]] = {
    "temperature": (0.0, 2.0),
    "top_p": (0.0, 1.0),
    "min_p": (0.0, 1.0),
    "typical_p": (0.0, 1.0),
    "presence_penalty": (-2.0, 2.0),
    "frequency_penalty": (-2.0, 2.0),
    "repetition_penalty": (0.1, 10.0),
}


@dataclass(frozen=True, kw_only=True)
class SamplingParams:
    """The choices that turn logits into a token; the defaults draw from the model's distribution.

    They apply in this order: ``logit_bias``, the penalties, bans, ``temperature``, ``top_k``,
    ``typical_p``, ``top_p``, ``min_p``; what is left is renormalised and a uniform number picks
    the token (``model.sampling.sampler``).

    Attributes:
        temperature: 0 to 2; the logits are divided by it. 0 takes the most likely token.
        top_k: keep the k most likely tokens; 0 keeps all.
        typical_p: keep the tokens whose surprise is nearest the entropy, until their probability
            reaches this (Meister et al. 2023, Locally Typical Sampling); 1 keeps all.
        top_p: keep the most likely tokens until their probability reaches this (Holtzman et al.
            2020, The Curious Case of Neural Text Degeneration); 1 keeps all, 0 keeps one.
        min_p: keep tokens at least this share as likely as the likeliest one; 0 keeps all.
        presence_penalty: taken once from the logit of every token generated so far.
        frequency_penalty: taken once per occurrence from the logit of every generated token.
        repetition_penalty: divides the logit, if positive, else multiplies it, of every token of
            the prompt or generated so far (Keskar et al. 2019, CTRL).
        logit_bias: token id to a number from -100 (forbids the token) to 100 (forces it), added to
            the logit.
        seed: signed 64-bit key of the random numbers.
        candidate: index j of this sequence among those drawn for one prompt with one seed.

    Raises:
        ConfigurationError: a value is outside its bound; the message names key, value and bound.
    """

    temperature: float = 1.0
    top_k: int = 0
    top_p: float = 1.0
    min_p: float = 0.0
    typical_p: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    repetition_penalty: float = 1.0
    logit_bias: Mapping[int, float] = field(default_factory=dict)
    seed: int = 0
    candidate: int = 0

    def __post_init__(self) -> None:
        for key, (low, high) in _BOUNDS.items():
            _check_number(key, getattr(self, key), low, high)
        _check_whole("top_k", self.top_k, 0, 2**31 - 1)
        _check_whole("seed", self.seed, -(2**63), 2**63 - 1)
        _check_whole("candidate", self.candidate, 0, 2**31 - 1)
        for token_id, bias in self.logit_bias.items():
            _check_whole("logit_bias token id", token_id, 0, 2**31 - 1)
            _check_number(f"logit_bias[{token_id}]", bias, FORBIDDING_BIAS, FORCING_BIAS)

    @property
    def is_greedy(self) -> bool:
        """Whether the most likely token is taken without any draw."""
        return self.temperature == 0.0

    @property
    def has_penalties(self) -> bool:
        """Whether earlier tokens, of the prompt or generated, change the distribution."""
        penalties = (self.presence_penalty, self.frequency_penalty, self.repetition_penalty)
        return penalties != (0.0, 0.0, 1.0)


def _check_number(key: str, value: object, low: float, high: float) -> None:
    ok = isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
    if not ok or not low <= value <= high:  # type: ignore[operator]  # ok says it is a number
        raise ConfigurationError(
            f"{key} is {value!r}; it must be a number from {low:g} to {high:g}"
        )


def _check_whole(key: str, value: object, low: int, high: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
        raise ConfigurationError(
            f"{key} is {value!r}; it must be a whole number from {low} to {high}"
        )
