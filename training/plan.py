"""What to train: sizes, regularisation and batches, from the budget, the corpus and the speed here.

A model that is too small stops learning before the budget ends; one that is too large sees too few
tokens in it. So the network is the largest whose weights are each paid for by enough tokens read in
the time given; how many tokens that is, is measured, not assumed.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Literal

from model.config import ModelConfig
from model.errors import ConfigurationError
from training.settings import Settings

logger = logging.getLogger(__name__)

Dtype = Literal["float32", "bfloat16"]

#: Widths that are tried, narrow to wide; all fill vector registers and matrix tiles.
HIDDEN_SIZES = (64, 96, 128, 192, 256, 384, 512, 640, 768, 1024, 1280, 1536)

#: Tokens read in the budget per weight of the recurrent part, at least.
TOKENS_PER_WEIGHT = 4.0

#: Weights at most per training token there is, so that a small corpus is not learnt by heart.
MAX_WEIGHTS_PER_CORPUS_TOKEN = 5.0

#: bfloat16 costs some precision, so it has to be clearly faster.
BFLOAT16_GAIN = 1.2

#: measure_speed(config, batch_size, window, dtype) -> tokens per second of training, about.
MeasureSpeed = Callable[[ModelConfig, int, int, Dtype], float]


@dataclass(frozen=True, kw_only=True)
class Plan:
    """Everything the training loop has to know. Saved with the run: resuming changes nothing.

    Attributes:
        config: the network.
        batch_size, window, compute_dtype: the form of a step.
        learning_rate: its peak.
        average_decay: highest decay of the moving average of the weights.
        minutes, steps: the budget; ``steps`` rules where it is given.
        tokens_per_second: measured at the start, for the record.
        initial_weights: bundle directory whose weights are the start; None: drawn by the seed.
    """

    config: ModelConfig
    batch_size: int
    window: int
    compute_dtype: Dtype
    learning_rate: float
    average_decay: float
    weight_decay: float
    clip_norm: float
    patience: int
    validation_tokens: int
    seed: int
    minutes: float
    steps: int | None
    tokens_per_second: float | None
    initial_weights: str | None

    @classmethod
    def for_speed(cls, config: ModelConfig, batch_size: int, window: int, dtype: Dtype) -> Plan:
        """A plan whose only use is to time its steps."""
        return cls(
            config=config,
            batch_size=batch_size,
            window=window,
            compute_dtype=dtype,
            learning_rate=1e-3,
            average_decay=0.999,
            weight_decay=0.01,
            clip_norm=1.0,
            patience=1,
            validation_tokens=1,
            seed=0,
            minutes=1.0,
            steps=None,
            tokens_per_second=None,
            initial_weights=None,
        )

    def summary(self) -> str:
        """The plan in one line for a person."""
        config = self.config
        budget = f"{self.steps:,} steps" if self.steps else f"{self.minutes:g} minutes"
        return (
            f"plan: {config.cell} {config.num_layers} x {config.hidden_size}, embedding "
            f"{config.embedding_size}, {config.num_weights():,} weights, vocabulary "
            f"{config.vocab_size:,}, dropout {config.dropout:g}, batch {self.batch_size} x window "
            f"{self.window}, {self.compute_dtype}, learning rate {self.learning_rate:.2g}, {budget}"
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
            return cls(**{**values, "config": ModelConfig.from_dict(values["config"])})
        except (KeyError, TypeError) as error:
            raise ConfigurationError(f"the plan of this run cannot be read: {error}") from error


def make_plan(
    settings: Settings,
    *,
    vocab_size: int,
    corpus_tokens: int,
    base: ModelConfig | None,
    base_directory: Path | None,
    measure_speed: MeasureSpeed,
    processor_has_bfloat16: bool,
) -> Plan:
    """The plan for ``settings``.

    Args:
        settings: what was asked for; what is None is chosen here.
        vocab_size: of the tokenizer.
        corpus_tokens: training tokens there are.
        base: sizes of the bundle to fine-tune, if any; ``base_directory`` is where it lies.
        base_directory: see ``base``.
        measure_speed: tells how fast this machine trains.
        processor_has_bfloat16: whether bfloat16 is worth measuring at all.

    Raises:
        ConfigurationError: a size is set that contradicts the bundle to fine-tune.
    """
    batch_size, window = _batch_shape(settings, corpus_tokens)
    dtype: Dtype = "float32"
    if settings.compute_dtype != "auto":
        dtype = settings.compute_dtype
    elif processor_has_bfloat16 and settings.steps is None:
        dtype = _faster_dtype(settings, vocab_size, batch_size, window, measure_speed)
    speed: float | None = None
    if base is not None:
        config = _fine_tuned_config(settings, base)
    elif settings.hidden_size is not None or settings.steps is not None:
        config = _config(settings, vocab_size, settings.hidden_size or 256, settings.layers or 1)
    else:
        config, speed = _largest_affordable(
            settings, vocab_size, corpus_tokens, batch_size, window, dtype, measure_speed
        )
    if settings.steps is not None:
        budget_tokens = float(settings.steps * batch_size * window)
    else:
        speed = speed or measure_speed(config, batch_size, window, dtype)
        budget_tokens = speed * settings.minutes * 60.0
    if settings.dropout is None:
        dropout = _dropout(budget_tokens / corpus_tokens, config.hidden_size)
        config = replace(config, dropout=dropout)
    plan = Plan(
        config=config,
        batch_size=batch_size,
        window=window,
        compute_dtype=dtype,
        learning_rate=settings.learning_rate or _learning_rate(config, fine_tune=base is not None),
        average_decay=0.999,
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        patience=settings.patience,
        validation_tokens=settings.validation_tokens or _validation_tokens(budget_tokens),
        seed=settings.seed,
        minutes=settings.minutes,
        steps=settings.steps,
        tokens_per_second=speed,
        initial_weights=None if base_directory is None else str(base_directory),
    )
    logger.info("plan: %s", plan)
    return plan


def _faster_dtype(
    settings: Settings, vocab_size: int, batch_size: int, window: int, measure_speed: MeasureSpeed
) -> Dtype:
    """The faster number format, at a size where the products weigh."""
    config = _config(settings, vocab_size, settings.hidden_size or 512, settings.layers or 1)
    plain = measure_speed(config, batch_size, window, "float32")
    half = measure_speed(config, batch_size, window, "bfloat16")
    return "bfloat16" if half > BFLOAT16_GAIN * plain else "float32"


def _batch_shape(settings: Settings, corpus_tokens: int) -> tuple[int, int]:
    """Batch size and window: small for small corpora, which need many updates more than speed."""
    window = settings.window
    batch_size = settings.batch_size
    if batch_size is None:
        batch_size = 64 if corpus_tokens >= 400_000 else 32
        while batch_size > 1 and batch_size * (window or 32) * 4 > corpus_tokens:
            batch_size //= 2
    if window is None:
        window = 128 if corpus_tokens >= 400_000 else 64
        while window > 4 and batch_size * window + 1 > corpus_tokens:
            window //= 2
    return batch_size, window


def _config(settings: Settings, vocab_size: int, hidden_size: int, num_layers: int) -> ModelConfig:
    embedding_size = settings.embedding_size or _embedding_size(vocab_size, hidden_size)
    tied = settings.tie_embeddings
    return ModelConfig(
        cell=settings.cell or "lstm",
        vocab_size=vocab_size,
        embedding_size=embedding_size,
        hidden_size=hidden_size,
        num_layers=settings.layers or num_layers,
        tie_embeddings=vocab_size > 512 if tied is None else tied,
        dropout=settings.dropout or 0.0,
    )


def _embedding_size(vocab_size: int, hidden_size: int) -> int:
    """Characters need few numbers each, words many; never more than the hidden size."""
    if vocab_size <= 512:
        return min(hidden_size, 64)
    return min(hidden_size, 512 if hidden_size >= 768 else 256)


def _largest_affordable(
    settings: Settings,
    vocab_size: int,
    corpus_tokens: int,
    batch_size: int,
    window: int,
    dtype: Dtype,
    measure_speed: MeasureSpeed,
) -> tuple[ModelConfig, float]:
    """The largest network whose weights each get enough tokens in the time, and its speed."""
    seconds = settings.minutes * 60.0
    best: tuple[ModelConfig, float] | None = None
    for hidden_size in HIDDEN_SIZES:
        config = _config(settings, vocab_size, hidden_size, 1)
        speed = measure_speed(config, batch_size, window, dtype)
        weights = recurrent_weights(config)
        affordable = speed * seconds >= TOKENS_PER_WEIGHT * weights
        learnable = weights <= MAX_WEIGHTS_PER_CORPUS_TOKEN * corpus_tokens
        if best is not None and not (affordable and learnable):
            break
        best = config, speed
    assert best is not None  # HIDDEN_SIZES is not empty
    return best


def recurrent_weights(config: ModelConfig) -> int:
    """Weights of the recurrent layers: every token read trains all of them, as it does no other."""
    return sum(
        math.prod(shape)
        for name, shape in config.weight_shapes().items()
        if name.startswith("layer_")
    )


def _dropout(epochs: float, hidden_size: int) -> float:
    """More passes over the same text, and wider layers, need more dropout."""
    if epochs <= 1.5 or hidden_size < 96:
        return 0.0
    for most, dropout in ((3.0, 0.1), (8.0, 0.2), (20.0, 0.35)):
        if epochs <= most:
            return dropout
    return 0.5


def _validation_tokens(budget_tokens: float) -> int:
    """So many that all validations together take about 3 % of the budget."""
    return int(min(262_144, max(2048, budget_tokens / 300)))


def _learning_rate(config: ModelConfig, *, fine_tune: bool) -> float:
    """Wider networks need smaller steps."""
    peak = min(8e-3, max(1e-3, 4e-3 * (384 / config.hidden_size) ** 0.75))
    return peak / 5.0 if fine_tune else peak


def _fine_tuned_config(settings: Settings, base: ModelConfig) -> ModelConfig:
    """The sizes of ``base``, with the dropout asked for.

    Raises:
        ConfigurationError: another size is set.
    """
    asked = {
        "cell": (settings.cell, base.cell),
        "layers": (settings.layers, base.num_layers),
        "hidden-size": (settings.hidden_size, base.hidden_size),
        "embedding-size": (settings.embedding_size, base.embedding_size),
        "tie-embeddings": (settings.tie_embeddings, base.tie_embeddings),
    }
    for key, (value, fixed) in asked.items():
        if value is not None and value != fixed:
            raise ConfigurationError(
                f"--{key} is {value}, but the bundle given by --from has {fixed}; leave it out"
            )
    return replace(base, dropout=settings.dropout or 0.0)
