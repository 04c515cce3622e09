"""The shape of a recurrent language model: ``ModelConfig``. Owns no weights and no framework."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any, Literal, get_args

from model.errors import ConfigurationError

Cell = Literal["simple_rnn", "gru", "lstm"]

#: Gate blocks side by side in a cell's kernels. LSTM: i f g o; GRU: z r n; SimpleRNN: one.
NUM_GATES: Mapping[str, int] = {"simple_rnn": 1, "gru": 3, "lstm": 4}

#: Tensors of recurrent state per layer. LSTM carries hidden state h and cell state c.
NUM_STATE_TENSORS: Mapping[str, int] = {"simple_rnn": 1, "gru": 1, "lstm": 2}


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes and kind of a recurrent language model.

    token ids [batch, time] -> embedding [batch, time, embedding] -> ``num_layers`` recurrent layers
    [batch, time, hidden] -> logits [batch, time, vocab].

    With ``tie_embeddings`` the output matrix is the embedding matrix (Press & Wolf 2017, Using the
    Output Embedding to Improve Language Models); where ``hidden_size`` differs from
    ``embedding_size`` a linear projection [hidden, embedding] stands between them.

    Attributes:
        cell: kind of recurrent cell.
        vocab_size: number of token ids.
        embedding_size: width of a token's vector.
        hidden_size: width of each recurrent layer.
        num_layers: depth.
        tie_embeddings: share the embedding matrix with the output.
        dropout: probability that a unit between layers is dropped while training (0 <= p < 1).

    Raises:
        ConfigurationError: a value is outside its bound; the message names key, value and bound.
    """

    vocab_size: int
    cell: Cell = "lstm"
    embedding_size: int = 256
    hidden_size: int = 512
    num_layers: int = 1
    tie_embeddings: bool = True
    dropout: float = 0.0

    def __post_init__(self) -> None:
        if self.cell not in get_args(Cell):
            raise ConfigurationError(
                f"cell is {self.cell!r}; it must be one of {', '.join(get_args(Cell))}"
            )
        bounds = {
            "vocab_size": (2, 1_000_000),
            "embedding_size": (1, 16_384),
            "hidden_size": (1, 16_384),
            "num_layers": (1, 64),
        }
        for key, (low, high) in bounds.items():
            value = getattr(self, key)
            if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
                raise ConfigurationError(
                    f"{key} is {value!r}; it must be a whole number from {low} to {high}"
                )
        if not isinstance(self.tie_embeddings, bool):
            raise ConfigurationError(
                f"tie_embeddings is {self.tie_embeddings!r}; it must be a bool"
            )
        if not isinstance(self.dropout, int | float) or not 0.0 <= self.dropout < 1.0:
            raise ConfigurationError(
                f"dropout is {self.dropout!r}; it must be at least 0 and less than 1"
            )

    @property
    def num_gates(self) -> int:
        """Gate blocks side by side in each kernel."""
        return NUM_GATES[self.cell]

    @property
    def state_size(self) -> int:
        """Floats of recurrent state per sequence, all layers together."""
        return self.num_layers * NUM_STATE_TENSORS[self.cell] * self.hidden_size

    @property
    def has_projection(self) -> bool:
        """Whether a linear layer [hidden, embedding] stands before the tied output matrix."""
        return self.tie_embeddings and self.hidden_size != self.embedding_size

    def input_size(self, layer: int) -> int:
        """Width of what ``layer`` reads: the embedding for the first, else the hidden size."""
        return self.embedding_size if layer == 0 else self.hidden_size

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Canonical weight names and shapes, the same for Keras, NumPy, LiteRT and files on disk.

        ``embedding`` [vocab, embedding]; per layer ``layer_<k>/kernel`` [input, gates * hidden],
        ``layer_<k>/recurrent_kernel`` [hidden, gates * hidden], ``layer_<k>/bias``
        [gates * hidden] (GRU: [2, gates * hidden], input and recurrent bias, as Keras'
        ``reset_after``); ``projection/kernel`` [hidden, embedding] where ``has_projection``;
        ``output/kernel`` [hidden, vocab] where untied; ``output/bias`` [vocab].
        """
        gates = self.num_gates * self.hidden_size
        shapes: dict[str, tuple[int, ...]] = {"embedding": (self.vocab_size, self.embedding_size)}
        for layer in range(self.num_layers):
            shapes[f"layer_{layer}/kernel"] = (self.input_size(layer), gates)
            shapes[f"layer_{layer}/recurrent_kernel"] = (self.hidden_size, gates)
            shapes[f"layer_{layer}/bias"] = (2, gates) if self.cell == "gru" else (gates,)
        if self.has_projection:
            shapes["projection/kernel"] = (self.hidden_size, self.embedding_size)
        if not self.tie_embeddings:
            shapes["output/kernel"] = (self.hidden_size, self.vocab_size)
        shapes["output/bias"] = (self.vocab_size,)
        return shapes

    def num_weights(self) -> int:
        """Trainable numbers in all."""
        total = 0
        for shape in self.weight_shapes().values():
            size = 1
            for length in shape:
                size *= length
            total += size
        return total

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``from_dict`` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelConfig:
        """The configuration held in ``values``.

        Raises:
            ConfigurationError: a key is missing or unknown, or a value is out of bounds.
        """
        known = {field.name for field in fields(cls)}
        unknown = sorted(set(values) - known)
        if unknown:
            raise ConfigurationError(f"unknown model settings: {', '.join(unknown)}")
        if "vocab_size" not in values:
            raise ConfigurationError("vocab_size is missing from the model settings")
        return cls(**values)
