"""What was measured of how far back the loss reaches. Loads no TensorFlow."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True, kw_only=True)
class GradientReach:
    """Mean norms by the number of steps back.

    Attributes:
        hidden: [steps + 1], with respect to the hidden states of all layers, from k = 0.
        cell: [steps + 1], with respect to the cell states of an LSTM, 0 at k = 0, which the loss
            does not read; empty for other cells.
        num_positions: how many losses were walked back from.
    """

    hidden: tuple[float, ...]
    cell: tuple[float, ...]
    num_positions: int

    def shares(self) -> list[float]:
        """What is left after k steps of the gradient at k = 0, through the wider of both ways.

        For an LSTM the larger of the two norms, else that of the hidden state.
        """
        carried = np.maximum(self.hidden, self.cell or 0.0)
        return [float(norm) for norm in carried / max(self.hidden[0], 1e-30)]

    def steps_above(self, share: float) -> int:
        """The number of steps back from which on less than ``share`` is left; at most all."""
        above = [k for k, left in enumerate(self.shares()) if left >= share]
        return max(above, default=0)

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``from_dict`` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> GradientReach:
        """What ``to_dict`` wrote."""
        return cls(
            hidden=tuple(values["hidden"]),
            cell=tuple(values["cell"]),
            num_positions=int(values["num_positions"]),
        )
