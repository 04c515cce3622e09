"""Who walks through time faster here, our loop or Keras' layers: by timing a step of both.

Never run on a graphics processor, for which it is there: so what fails is not chosen.
"""

from __future__ import annotations

import logging
import math

import tensorflow as tf

from model.config import ModelConfig
from model.network.language_model import LanguageModel
from model.state import FloatArray
from training.graphics_processor import sees_graphics_processor
from training.plan import Dtype, Recurrence
from training.speed import quickest
from training.towers import total_loss

logger = logging.getLogger(__name__)

_RECURRENCES: tuple[Recurrence, ...] = ("loop", "keras")


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
        variables = [variable.value for variable in model.named_variables().values()]
        ids = tf.zeros([batch_size, window], tf.int32)
        state, seed = model.initial_state(batch_size), tf.constant([1, 1])

        def gradients() -> list[tf.Tensor]:
            with tf.GradientTape() as tape:
                loss, _ = total_loss(model, ids, ids, state, training=True, seed=seed)
            return [tf.convert_to_tensor(each) for each in tape.gradient(loss, variables)]

        in_graph = tf.function(gradients)

        def step() -> FloatArray:
            first: FloatArray = in_graph()[0].numpy()
            return first

        return quickest(step)
    except (tf.errors.OpError, NotImplementedError) as error:
        logger.warning("recurrence %s does not run here: %s", recurrence, error)
        return math.inf
