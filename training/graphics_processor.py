"""What training does otherwise where TensorFlow sees a graphics processor.

Nothing of this has been run on one: each choice is made by measuring, and what fails is not chosen.
"""

from __future__ import annotations

import logging
import math
import time
from collections.abc import Callable

import tensorflow as tf

from model.config import ModelConfig
from model.network.cells.keras_recurrence import Recurrence
from model.network.language_model import LanguageModel
from training.plan import Dtype

logger = logging.getLogger(__name__)

_RECURRENCES: tuple[Recurrence, ...] = ("loop", "keras")

#: Steps that are timed, after one that builds the graph.
_REPEATS = 3


def sees_graphics_processor() -> bool:
    """Whether TensorFlow has one to compute on."""
    return bool(tf.config.list_logical_devices("GPU"))


def faster_recurrence(
    config: ModelConfig, batch_size: int, window: int, dtype: Dtype
) -> Recurrence:
    """How layers should walk through time here: as measured, on a plain processor always "loop".

    There the loop makes 1.4 to 3.3 times the tokens a second of Keras' layers (docs/benchmarks.md).
    """
    if not sees_graphics_processor():
        return "loop"
    return quicker_recurrence(config, batch_size, window, dtype)


def quicker_recurrence(
    config: ModelConfig, batch_size: int, window: int, dtype: Dtype
) -> Recurrence:
    """The one whose loss and gradients take less time; one that fails takes for ever."""
    seconds = {
        recurrence: _seconds_of_gradients(config, batch_size, window, dtype, recurrence)
        for recurrence in _RECURRENCES
    }
    logger.info("seconds for the gradients of one step: %s", seconds)
    return min(_RECURRENCES, key=seconds.__getitem__)


def _seconds_of_gradients(
    config: ModelConfig, batch_size: int, window: int, dtype: Dtype, recurrence: Recurrence
) -> float:
    try:
        model = LanguageModel(config, compute_dtype=dtype, recurrence=recurrence)
        ids = tf.zeros([batch_size, window], tf.int32)
        reset = tf.zeros([batch_size, window], tf.bool)
        variables = [variable.value for variable in model.named_variables().values()]

        def gradients() -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss, _ = model.total_loss(
                    ids,
                    ids,
                    model.initial_state(batch_size),
                    reset=reset,
                    training=True,
                    seed=tf.constant([1, 1]),
                )
            return [tf.convert_to_tensor(each) for each in tape.gradient(loss, variables)]

        step = tf.function(gradients)
        return min(_seconds(step) for _ in range(1 + _REPEATS))
    except (tf.errors.OpError, NotImplementedError) as error:
        logger.warning("recurrence %s does not run here: %s", recurrence, error)
        return math.inf


def _seconds(gradients: Callable[[], list[tf.Tensor]]) -> float:
    started = time.perf_counter()
    gradients()[0].numpy()
    return time.perf_counter() - started
