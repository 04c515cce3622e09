"""What to train: sizes, regularisation and batches, from the budget, the corpus and the speed here.

A model that is too small stops learning before the budget ends; one that is too large sees too few
tokens in it. So the network is the widest whose recurrent weights are each paid for by enough
tokens read in the time given, and steps are made small until there are enough of them.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from model.config import ModelConfig
from model.errors import ConfigurationError
from training.plan import Dtype, Plan, Recurrence
from training.settings import Settings
from training.widening import widened_config

logger = logging.getLogger(__name__)

#: Widths that are tried, narrow to wide; all fill vector registers and matrix tiles.
HIDDEN_SIZES = (64, 96, 128, 192, 256, 384, 512, 640, 768, 1024, 1280, 1536)

#: Tokens read in the budget per recurrent weight, at least.
TOKENS_PER_WEIGHT = 2.5

#: Recurrent weights per training token there is, at most: more would learn it by heart.
MAX_WEIGHTS_PER_CORPUS_TOKEN = 5.0

#: (batch size, window), large steps to small; large ones use the processor better.
STEP_SHAPES = ((64, 128), (64, 64), (32, 64), (32, 32), (16, 32), (8, 32))

#: The form of a step when only its speed is asked for, or the budget is in steps.
USUAL_SHAPE = (32, 64)

#: A budget should have room for so many updates of the weights.
UPDATES_WANTED = 2_500

#: bfloat16 costs some precision, so it has to be clearly faster.
BFLOAT16_GAIN = 1.2

#: measure_speed(config, batch_size, window, dtype) -> tokens per second of training, about.
MeasureSpeed = Callable[[ModelConfig, int, int, Dtype], float]

#: faster_recurrence(config, batch_size, window, dtype) -> how layers walk through time faster.
FasterRecurrence = Callable[[ModelConfig, int, int, Dtype], Recurrence]


def make_plan(
    settings: Settings,
    *,
    vocab_size: int,
    corpus_tokens: int,
    base: ModelConfig | None,
    base_directory: Path | None,
    measure_speed: MeasureSpeed,
    faster_recurrence: FasterRecurrence,
    processor_has_bfloat16: bool,
) -> Plan:
    """The plan for ``settings``: what they give, as it is; what they leave open, chosen.

    A budget in steps leaves nothing to the speed of the machine: the same settings and corpus give
    the same plan everywhere.

    Args:
        settings: what was asked for.
        vocab_size: of the tokenizer.
        corpus_tokens: training tokens there are.
        base: sizes of the bundle to fine-tune, if any.
        base_directory: where that bundle lies.
        measure_speed: tells how fast this machine trains.
        faster_recurrence: tells how layers walk through time faster here.
        processor_has_bfloat16: whether bfloat16 is worth measuring at all.

    Raises:
        ConfigurationError: a size is set that the bundle to fine-tune cannot be given.
    """
    dtype: Dtype = "float32"
    if settings.compute_dtype != "auto":
        dtype = settings.compute_dtype
    elif processor_has_bfloat16 and settings.steps is None:
        dtype = _faster_dtype(settings, vocab_size, measure_speed)

    def speed_of(config: ModelConfig) -> float:
        return measure_speed(config, *USUAL_SHAPE, dtype)

    if base is not None:
        config = _fine_tuned_config(settings, base)
    elif settings.hidden_size is not None or settings.steps is not None:
        config = _config(settings, vocab_size, settings.hidden_size or 256)
    else:
        config = _widest_affordable(settings, vocab_size, corpus_tokens, speed_of)
    speed = None if settings.steps is not None else speed_of(config)
    batch_size, window = _step_shape(settings, corpus_tokens, speed)
    if settings.steps is not None:
        budget_tokens = float(settings.steps * batch_size * window)
    else:
        budget_tokens = (speed or 0.0) * settings.minutes * 60.0
    if settings.dropout is None:
        dropout = _dropout(budget_tokens / corpus_tokens, config.hidden_size)
        config = replace(config, dropout=dropout)
    recurrence: Recurrence = "loop"
    if settings.recurrence != "auto":
        recurrence = settings.recurrence
    elif settings.steps is None:
        recurrence = faster_recurrence(config, batch_size, window, dtype)
    plan = Plan(
        config=config,
        batch_size=batch_size,
        window=window,
        compute_dtype=dtype,
        recurrence=recurrence,
        learning_rate=settings.learning_rate or _learning_rate(config, fine_tune=base is not None),
        weight_decay=settings.weight_decay,
        clip_norm=settings.clip_norm,
        weight_dropout=settings.weight_dropout,
        embedding_dropout=settings.embedding_dropout,
        activation_penalty=settings.activation_penalty,
        temporal_penalty=settings.temporal_penalty,
        late_window=settings.late_window,
        patience=settings.patience,
        validation_tokens=settings.validation_tokens or _validation_tokens(budget_tokens),
        seed=settings.seed,
        minutes=settings.minutes,
        steps=settings.steps,
        tokens_per_second=speed,
        initial_weights=None if base_directory is None else str(base_directory),
        averaged_with=tuple(str(path) for path in settings.average_with),
    )
    logger.info("%s", plan)
    return plan


def recurrent_weights(config: ModelConfig) -> int:
    """Weights of the recurrent layers: every token read trains all of them, as it does no other."""
    return sum(
        math.prod(shape)
        for name, shape in config.weight_shapes().items()
        if name.startswith("layer_")
    )


def _faster_dtype(settings: Settings, vocab_size: int, measure_speed: MeasureSpeed) -> Dtype:
    """The faster number format, at a size where the products weigh."""
    config = _config(settings, vocab_size, settings.hidden_size or 512)
    plain = measure_speed(config, *USUAL_SHAPE, "float32")
    half = measure_speed(config, *USUAL_SHAPE, "bfloat16")
    return "bfloat16" if half > BFLOAT16_GAIN * plain else "float32"


def _config(settings: Settings, vocab_size: int, hidden_size: int) -> ModelConfig:
    tied = settings.tie_embeddings
    return ModelConfig(
        cell=settings.cell or "lstm",
        vocab_size=vocab_size,
        embedding_size=settings.embedding_size or _embedding_size(vocab_size, hidden_size),
        hidden_size=hidden_size,
        num_layers=settings.layers or 1,
        tie_embeddings=vocab_size > 512 if tied is None else tied,
        dropout=settings.dropout or 0.0,
    )


def _embedding_size(vocab_size: int, hidden_size: int) -> int:
    """Characters need few numbers each, words many; never more than the hidden size."""
    if vocab_size <= 512:
        return min(hidden_size, 64)
    return min(hidden_size, 512 if hidden_size >= 768 else 256)


def _widest_affordable(
    settings: Settings,
    vocab_size: int,
    corpus_tokens: int,
    speed_of: Callable[[ModelConfig], float],
) -> ModelConfig:
    """The widest network whose recurrent weights each get enough tokens in the time."""
    seconds = settings.minutes * 60.0
    best = _config(settings, vocab_size, HIDDEN_SIZES[0])
    for hidden_size in HIDDEN_SIZES[1:]:
        config = _config(settings, vocab_size, hidden_size)
        weights = recurrent_weights(config)
        if weights > MAX_WEIGHTS_PER_CORPUS_TOKEN * corpus_tokens:
            break
        if speed_of(config) * seconds < TOKENS_PER_WEIGHT * weights:
            break
        best = config
    return best


def _step_shape(settings: Settings, corpus_tokens: int, speed: float | None) -> tuple[int, int]:
    """Batch size and window: the largest step of which the budget has room for enough."""
    batch_size, window = USUAL_SHAPE
    if speed is not None:
        budget_tokens = speed * settings.minutes * 60.0
        for shape in STEP_SHAPES:
            batch_size, window = shape
            if math.prod(shape) * UPDATES_WANTED <= budget_tokens:
                break
    batch_size = settings.batch_size or batch_size
    window = settings.window or window
    # A small corpus is read in few streams, each several windows long.
    while (
        settings.batch_size is None and batch_size > 1 and batch_size * window * 8 > corpus_tokens
    ):
        batch_size //= 2
    while settings.window is None and window > 1 and batch_size * window >= corpus_tokens:
        window //= 2
    return batch_size, window


def _dropout(epochs: float, hidden_size: int) -> float:
    """More passes over the same text, and wider layers, need more dropout."""
    if epochs <= 1.5 or hidden_size < 96:
        return 0.0
    for most, dropout in ((3.0, 0.1), (8.0, 0.2), (20.0, 0.35)):
        if epochs <= most:
            return dropout
    return 0.5


def _validation_tokens(budget_tokens: float) -> int:
    """So many that all validations together take about 4 % of the budget."""
    return int(min(262_144, max(2_048, budget_tokens / 300)))


def _learning_rate(config: ModelConfig, *, fine_tune: bool) -> float:
    """Wider networks need smaller steps; so does a SimpleRNN, of which no gate softens any.

    For LSTMs of 128 and 256 the rates were measured with ``benchmarks.minutes``.
    """
    peak = min(0.015, max(2e-3, 0.012 * math.sqrt(256 / config.hidden_size)))
    if config.cell == "simple_rnn":
        peak /= 3.0
    return peak / 5.0 if fine_tune else peak


def _fine_tuned_config(settings: Settings, base: ModelConfig) -> ModelConfig:
    """The sizes of ``base`` or greater widths, with the dropout asked for.

    Raises:
        ConfigurationError: another size is set.
    """
    asked = {
        "cell": (settings.cell, base.cell),
        "layers": (settings.layers, base.num_layers),
        "tie-embeddings": (settings.tie_embeddings, base.tie_embeddings),
    }
    for key, (value, fixed) in asked.items():
        if value is not None and value != fixed:
            raise ConfigurationError(
                f"--{key} is {value}, but the bundle given by --from has {fixed}; leave it out"
            )
    config = widened_config(base, settings.hidden_size, settings.embedding_size)
    return replace(config, dropout=settings.dropout or 0.0)
