"""``Plan``: everything the training loop has to know, saved with the run. Decides nothing."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

from model.config import ModelConfig
from model.errors import ConfigurationError

#: As ``model.network.cells.keras_recurrence`` has it; that loads TensorFlow.
Recurrence = Literal["loop", "keras"]
Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """What is trained, and how.

    Attributes:
        config: the network.
        batch_size: streams read side by side.
        window: tokens of each stream between two updates of the weights.
        compute_dtype: of the matrix products.
        recurrence: how layers walk through time: by our loop, or as Keras runs its own.
        learning_rate: its peak.
        average_decay: highest decay of the moving average of the weights.
        weight_decay: decoupled; biases are spared.
        clip_norm: largest global norm of a gradient.
        weight_dropout: probability that a recurrent weight is dropped for a step.
        embedding_dropout: probability that a word is dropped for a step.
        activation_penalty: weight of the size of the last layer's outputs.
        temporal_penalty: weight of their change from token to token.
        late_window: ``window`` of the last part of the budget; None: no other.
        patience: validations without a gain before training stops early.
        validation_tokens: scored in each validation, at most.
        seed: of the first weights, of dropout and of the order of reading.
        minutes: the budget, where ``steps`` is None.
        steps: the budget in updates.
        tokens_per_second: estimated when the plan was made, for the record.
        initial_weights: directory of the bundle that is fine-tuned; None: weights are drawn.
        averaged_with: directories of further bundles, whose weights are averaged with its.
    """

    config: ModelConfig
    batch_size: int
    window: int
    compute_dtype: Dtype = "float32"
    recurrence: Recurrence = "loop"
    learning_rate: float
    average_decay: float = 0.999
    weight_decay: float = 0.01
    clip_norm: float = 1.0
    weight_dropout: float = 0.0
    embedding_dropout: float = 0.0
    activation_penalty: float = 0.0
    temporal_penalty: float = 0.0
    late_window: int | None = None
    patience: int = 12
    validation_tokens: int
    seed: int
    minutes: float
    steps: int | None
    tokens_per_second: float | None = None
    initial_weights: str | None = None
    averaged_with: tuple[str, ...] = ()

    def summary(self) -> str:
        """The plan in one line for a person."""
        config = self.config
        budget = f"{self.steps:,} steps" if self.steps else f"{self.minutes:g} minutes"
        dropouts = f"dropout {config.dropout:g}"
        if self.weight_dropout or self.embedding_dropout:
            dropouts += f" (weights {self.weight_dropout:g}, words {self.embedding_dropout:g})"
        if self.activation_penalty or self.temporal_penalty:
            dropouts += f", penalties {self.activation_penalty:g} and {self.temporal_penalty:g}"
        window = str(self.window)
        if self.late_window is not None:
            window += f", {self.late_window} at the end"
        recurrence = ", Keras' layers" if self.recurrence == "keras" else ""
        return (
            f"plan: {config.cell} {config.num_layers} x {config.hidden_size}, embedding "
            f"{config.embedding_size}, {config.num_weights():,} weights, vocabulary "
            f"{config.vocab_size:,}, {dropouts}, batch {self.batch_size} x window {window}, "
            f"{self.compute_dtype}{recurrence}, learning rate {self.learning_rate:.2g}, {budget}"
        )

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready dictionary; ``from_dict`` reads it back."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Plan:
        """The plan that ``to_dict`` wrote.

        Raises:
            ConfigurationError: keys are missing or unknown.
        """
        try:
            config = ModelConfig.from_dict(values["config"])
            averaged_with = tuple(values.get("averaged_with", ()))
            return cls(**{**values, "config": config, "averaged_with": averaged_with})
        except (KeyError, TypeError) as error:
            raise ConfigurationError(f"the plan of this run cannot be read: {error}") from error
