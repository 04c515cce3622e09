"""The recurrent state of a batch of sequences, as one flat array. Owns the layout, nothing else."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.config import NUM_STATE_TENSORS, ModelConfig

FloatArray = NDArray[np.float32]
IntArray = NDArray[np.int32]


@dataclass(frozen=True)
class RecurrentState:
    """Named views into ``values`` [batch, state_size] float32.

    The row of a sequence holds, layer by layer, the hidden state h [hidden] and, for an LSTM, the
    cell state c [hidden] behind it. A row is all there is to know of a sequence: it has a fixed
    size, can be copied, stored and resumed.
    """

    config: ModelConfig
    values: FloatArray

    def __post_init__(self) -> None:
        if self.values.ndim != 2 or self.values.shape[1] != self.config.state_size:
            raise ValueError(
                f"state has shape {self.values.shape}; expected [batch, {self.config.state_size}]"
            )

    @classmethod
    def zeros(cls, config: ModelConfig, batch_size: int) -> RecurrentState:
        """The state before any token: [batch, state_size] of zeros."""
        return cls(config, np.zeros((batch_size, config.state_size), np.float32))

    def hidden(self, layer: int) -> FloatArray:
        """Hidden state h of ``layer``: [batch, hidden], a view."""
        start = layer * NUM_STATE_TENSORS[self.config.cell] * self.config.hidden_size
        return self.values[:, start : start + self.config.hidden_size]

    def cell(self, layer: int) -> FloatArray:
        """Cell state c of ``layer`` of an LSTM: [batch, hidden], a view.

        Raises:
            ValueError: the model is no LSTM.
        """
        if self.config.cell != "lstm":
            raise ValueError(f"a {self.config.cell} has no cell state")
        start = (2 * layer + 1) * self.config.hidden_size
        return self.values[:, start : start + self.config.hidden_size]
