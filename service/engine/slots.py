"""The recurrent states of the running jobs, a row per slot. Owns the memory, not who has a slot."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from model.state import FloatArray


class SlotStates:
    """State rows of ``num_slots`` slots: [num_slots, state_size] float32.

    From one decoding step to the next the same slots are mostly read and written together. What was
    written together is therefore kept as it came, and copied to its rows only when other slots are
    asked for.
    """

    def __init__(self, num_slots: int, state_size: int) -> None:
        self._rows = np.zeros((num_slots, state_size), np.float32)
        self._together: tuple[list[int], FloatArray] | None = None

    def gather(self, slots: Sequence[int]) -> FloatArray:
        """The states of ``slots``, in that order: [len(slots), state_size]. Not to be modified."""
        if self._together is not None and self._together[0] == slots:
            return self._together[1]
        self._settle()
        states: FloatArray = self._rows[list(slots)]
        return states

    def scatter(self, slots: Sequence[int], states: FloatArray) -> None:
        """Replaces the states of ``slots``; the caller gives ``states`` away."""
        if self._together is not None and self._together[0] != slots:
            self._settle()
        self._together = (list(slots), states)

    def get(self, slot: int) -> FloatArray:
        """A copy of one state: [state_size]."""
        self._settle()
        state: FloatArray = self._rows[slot].copy()
        return state

    def set(self, slot: int, state: FloatArray) -> None:
        """Replaces one state."""
        self._settle()
        self._rows[slot] = state

    def _settle(self) -> None:
        if self._together is not None:
            slots, states = self._together
            self._rows[slots] = states
            self._together = None
