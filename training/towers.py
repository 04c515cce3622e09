"""A batch split into towers that are worked on side by side, one processor core each.

An operator split over cores has the cores wait for each other at its end, thousands of times a
step, and narrow products are too small to be split well. A tower is a part of the batch whose whole
walk through time runs on one core, as its own branch of the graph; the cores meet once a step.
"""

from __future__ import annotations

import tensorflow as tf

from model.network.language_model import LanguageModel
from training.graphics_processor import sees_graphics_processor
from training.processor_cores import num_cores

#: Towers of fewer rows than this would leave the products too narrow.
MIN_TOWER_ROWS = 8


def num_towers(batch_size: int, cores: int | None = None) -> int:
    """How many towers of equal size a batch is split into: at most one for each core.

    A graphics processor is one, however many cores there are beside it.
    """
    cores = cores or (1 if sees_graphics_processor() else num_cores())
    most = max(1, min(cores, batch_size // MIN_TOWER_ROWS))
    return next(count for count in range(most, 0, -1) if batch_size % count == 0)


def total_loss(
    model: LanguageModel,
    token_ids: tf.Tensor,
    targets: tf.Tensor,
    state: tf.Tensor,
    *,
    mask: tf.Tensor | None = None,
    reset: tf.Tensor | None = None,
    training: bool = False,
    seed: tf.Tensor | None = None,
) -> tuple[tf.Tensor, tf.Tensor]:
    """``model.total_loss``, tower by tower; arguments and results are the same.

    The batch size must be known when the graph is built. Every tower draws dropout of its own.
    """
    towers = num_towers(token_ids.shape[0])
    if mask is None:
        mask = tf.ones_like(targets, tf.float32)
    if reset is None:
        reset = tf.zeros_like(targets, tf.bool)
    parts = [tf.split(tensor, towers) for tensor in (token_ids, targets, state, mask, reset)]
    nats, states = [], []
    for index, (ids_part, targets_part, state_part, mask_part, reset_part) in enumerate(
        zip(*parts, strict=True)
    ):
        loss, after = model.total_loss(
            ids_part,
            targets_part,
            state_part,
            mask=mask_part,
            reset=reset_part,
            training=training,
            seed=None if seed is None else seed + tf.constant([index << 16, 0]),
        )
        nats.append(loss)
        states.append(after)
    return tf.add_n(nats), tf.concat(states, axis=0)
