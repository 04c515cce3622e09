"""Taking looks: from rows of logits to the most likely tokens and sums of probabilities."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.kernel.library import Kernel
from model.scoring import MIN_LOGPROB, log_normalisers, token_logprobs, top_tokens
from model.state import FloatArray, IntArray
from service.engine.growth import Look


class View(NamedTuple):
    """What one look showed: tokens [n], their logprobs [n], and the logarithm of the sum."""

    token_ids: IntArray
    logprobs: FloatArray
    log_mass: float


class PreparedLook:
    """A look whose sets of tokens have been turned into indices."""

    def __init__(self, look: Look, vocab_size: int) -> None:
        """Reads the sets.

        Raises:
            ValueError: a set is not of the vocabulary's size, or a number is out of range.
        """
        if look.top_k < 0 or not 0 < look.temperature < float("inf"):
            raise ValueError(f"a look has top_k {look.top_k}, temperature {look.temperature}")
        self._top_k = look.top_k
        self._temperature = np.float32(look.temperature)
        self._within = None if look.within is None else _indices(look.within, vocab_size)
        self._mass_of = None if look.mass_of is None else _indices(look.mass_of, vocab_size)

    def views(self, logits: FloatArray, kernel: Kernel | None = None) -> Iterator[View]:
        """What it shows for each row of ``logits`` [rows, vocab]."""
        scaled = logits if self._temperature == 1.0 else logits / self._temperature
        token_ids = self._top(scaled, kernel)
        logprobs = token_logprobs(scaled, token_ids, log_normalisers(scaled, kernel))
        return map(View, token_ids, logprobs, self._log_masses(scaled).tolist())

    def _log_masses(self, logits: FloatArray) -> NDArray[np.float64]:
        if self._mass_of is None or not self._mass_of.size:
            return np.full(len(logits), MIN_LOGPROB)
        weights = np.exp(logits - logits.max(axis=1, keepdims=True))
        # take, and not an index, for rows that are contiguous: a row's sum then never depends on
        # how many rows there are.
        members = np.take(weights, self._mass_of, axis=1).sum(axis=1).astype(np.float64)
        with np.errstate(divide="ignore"):
            masses = np.log(members / weights.sum(axis=1).astype(np.float64))
        bounded: NDArray[np.float64] = np.clip(masses, MIN_LOGPROB, 0.0)
        return bounded

    def _top(self, logits: FloatArray, kernel: Kernel | None) -> IntArray:
        if self._within is None:
            return top_tokens(logits, self._top_k, kernel)
        chosen: IntArray = self._within[
            top_tokens(np.take(logits, self._within, axis=1), self._top_k, kernel)
        ]
        return chosen


def take_views(
    looks: Sequence[PreparedLook],
    look_of: IntArray,
    logits: FloatArray,
    kernel: Kernel | None = None,
) -> list[tuple[int, View]]:
    """The views of those rows of ``logits`` that want one (``look_of`` >= 0), with their rows."""
    views: list[tuple[int, View]] = []
    for index in np.unique(look_of[look_of >= 0]).tolist():
        rows = np.flatnonzero(look_of == index)
        views += zip(rows.tolist(), looks[index].views(logits[rows], kernel), strict=True)
    return views


def _indices(members: bytes, vocab_size: int) -> IntArray:
    if len(members) != vocab_size:
        raise ValueError(f"a set of tokens has {len(members)} entries; expected {vocab_size}")
    return np.flatnonzero(np.frombuffer(members, np.uint8)).astype(np.int32)
