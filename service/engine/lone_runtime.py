"""The network on all cores while no other engine computes, else on this engine's own.

Many rows are quickest with one engine for each core. A single one, with nobody else to compute for,
is quicker with all of them: a core reads only its part of the weights, which then fits into its
near cache. So an engine holds the network twice, once for a few rows with more threads. Results
have the same bits in both.
"""

from __future__ import annotations

from model.config import ModelConfig
from model.runtime.contract import Runtime
from model.state import FloatArray, IntArray
from service.busy_board import BusySeat

#: So few rows are worth all cores; the second copy of the network is made for no more.
MOST_LONE_ROWS = 4

#: Networks of fewer weights are quicker on one core, unless more threads are asked for: to wait for
#: the other costs what a step of 2 million weights saves.
LEAST_LONE_WEIGHTS = 3_000_000


class LoneRuntime:
    """Implements ``model.runtime.contract.Runtime`` by one of two that compute the same.

    Args:
        usual: for any number of rows, and whenever other engines compute.
        lone: uses all cores, for at most ``MOST_LONE_ROWS`` rows.
        seat: tells whether others compute, and is told when this one does.
    """

    def __init__(self, usual: Runtime, lone: Runtime, seat: BusySeat) -> None:
        self._usual = usual
        self._lone = lone
        self._seat = seat

    @property
    def config(self) -> ModelConfig:
        """The model's sizes."""
        return self._usual.config

    def initial_state(self, batch_size: int) -> FloatArray:
        """State before any token: [batch, state_size] of zeros."""
        return self._usual.initial_state(batch_size)

    def prefill(self, token_ids: IntArray, state: FloatArray) -> FloatArray:
        """As ``Runtime.prefill``."""
        after = self._for(len(token_ids)).prefill(token_ids, state)
        self._seat.note()
        return after

    def step(self, token_ids: IntArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """As ``Runtime.step``."""
        logits, after = self._for(len(token_ids)).step(token_ids, state)
        self._seat.note()
        return logits, after

    def score(self, token_ids: IntArray, state: FloatArray) -> tuple[FloatArray, FloatArray]:
        """As ``Runtime.score``."""
        logits, after = self._for(len(token_ids)).score(token_ids, state)
        self._seat.note()
        return logits, after

    def logits(self, state: FloatArray) -> FloatArray:
        """As ``Runtime.logits``."""
        logits = self._for(len(state)).logits(state)
        self._seat.note()
        return logits

    def _for(self, num_rows: int) -> Runtime:
        self._seat.note()
        return self._lone if num_rows <= MOST_LONE_ROWS and self._seat.alone() else self._usual
