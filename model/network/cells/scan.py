"""Walking over time steps, and the matrix products over all of them at once.

Outside the walk every sequence is [time, batch, width], so that a time step is contiguous. Inside
it a step's tensors are [width, batch], the weights transposed once before: a wide matrix times a
narrow one is up to twice as fast as the other way round (docs/experiments.md, Training).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf


class Record(NamedTuple):
    """What a tensor kept of every step looks like: its shape, numbers or scalars, and dtype."""

    shape: Sequence[int | tf.Tensor]
    dtype: tf.DType


class StepRecord:
    """What a walk has kept of every time step: one tensor of a given shape per step, unstacked.

    The steps stay the tensors they were, so that keeping them for the walk back copies nothing.
    """

    def __init__(self, handle: tf.Tensor, step_shape: tf.Tensor, dtype: tf.DType) -> None:
        self._handle = handle
        self._step_shape = step_shape
        self._dtype = dtype

    def at(self, time: tf.Tensor) -> tf.Tensor:
        """The tensor kept at step ``time``."""
        return tf.raw_ops.TensorListGetItem(
            input_handle=self._handle,
            index=time,
            element_shape=self._step_shape,
            element_dtype=self._dtype,
        )

    def stacked(self) -> tf.Tensor:
        """All steps as one tensor [time, *shape of a step]; a copy. ``time`` may be 0."""
        return tf.raw_ops.TensorListStack(
            input_handle=self._handle,
            element_shape=self._step_shape,
            element_dtype=self._dtype,
        )


def scan_time(
    step: Callable[..., tuple[Sequence[tf.Tensor], Sequence[tf.Tensor]]],
    carry: Sequence[tf.Tensor],
    records: Sequence[Record],
    *,
    num_steps: tf.Tensor,
    backwards: bool = False,
) -> tuple[tuple[tf.Tensor, ...], list[StepRecord]]:
    """Calls ``step`` once per time step, handing the carried tensors on.

    Args:
        step: ``step(time, *carry) -> (carry, kept)``; the carried tensors keep their shapes.
        carry: tensors before the first step.
        records: of each tensor that ``step`` keeps.
        num_steps: number of time steps, a scalar int32; may be 0.
        backwards: walk from the last step to the first.

    Returns:
        The tensors carried out of the walk, and a record of each kept tensor, in time order
        whichever way the walk went.
    """
    shapes = [tf.stack(record.shape) for record in records]
    handles = tuple(
        tf.raw_ops.TensorListReserve(
            element_shape=shape, num_elements=num_steps, element_dtype=record.dtype
        )
        for shape, record in zip(shapes, records, strict=True)
    )

    def body(
        count: tf.Tensor, carried: tuple[tf.Tensor, ...], kept: tuple[tf.Tensor, ...]
    ) -> tuple[tf.Tensor, tuple[tf.Tensor, ...], tuple[tf.Tensor, ...]]:
        time = num_steps - 1 - count if backwards else count
        new_carry, outputs = step(time, *carried)
        new_kept = tuple(
            tf.raw_ops.TensorListSetItem(input_handle=handle, index=time, item=output)
            for handle, output in zip(kept, outputs, strict=True)
        )
        return count + 1, tuple(new_carry), new_kept

    _, final, handles = tf.while_loop(
        lambda count, *_: count < num_steps,
        body,
        (tf.constant(0), tuple(carry), handles),
        maximum_iterations=num_steps,
    )
    return final, [
        StepRecord(handle, shape, record.dtype)
        for handle, shape, record in zip(handles, shapes, records, strict=True)
    ]


def transposed_weights(*weights: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Matrices [rows, columns] and vectors [columns], stacked and transposed.

    Returns [columns, rows of all] in ``dtype``. Times a step's inputs, hidden state and a row of
    ones, one below the other, it gives the sums of all gates in one product.
    """
    rows = [w if w.shape.rank == 2 else w[tf.newaxis] for w in weights]
    return tf.transpose(tf.cast(tf.concat(rows, axis=0), dtype))


def input_gradient(output_gradient: tf.Tensor, kernel: tf.Tensor) -> tf.Tensor:
    """The gradient of [time, batch, in] inputs: one product over all steps.

    ``output_gradient`` [time, batch, out] is that of the inputs times ``kernel`` [in, out].
    """
    shape = tf.shape(output_gradient)
    rows = tf.reshape(output_gradient, [-1, kernel.shape[1]])
    return tf.reshape(
        tf.matmul(rows, kernel, transpose_b=True), [shape[0], shape[1], kernel.shape[0]]
    )


def kernel_gradient(sequence: tf.Tensor, output_gradient: tf.Tensor) -> tf.Tensor:
    """The gradient of a kernel that ``sequence`` is multiplied with: one product, float32.

    ``sequence`` is [time, batch, in], ``output_gradient`` [time, batch, out]; returns [in, out].
    """
    rows = tf.reshape(sequence, [-1, sequence.shape[2]])
    gradients = tf.reshape(output_gradient, [-1, output_gradient.shape[2]])
    return tf.cast(tf.matmul(rows, gradients, transpose_a=True), tf.float32)


def bias_gradient(output_gradient: tf.Tensor) -> tf.Tensor:
    """The sum of [time, batch, out] over time and batch, float32 [out].

    As a product with ones: several times as fast as a sum over the rows.
    """
    rows = tf.reshape(output_gradient, [-1, output_gradient.shape[2]])
    rows = tf.cast(rows, tf.float32)
    return tf.matmul(tf.ones([1, tf.shape(rows)[0]]), rows)[0]


def previous_states(initial: tf.Tensor, states: tf.Tensor, keep: tf.Tensor | None) -> tf.Tensor:
    """The state each step started from, reset included: [time, batch, hidden].

    ``initial`` [batch, hidden] is the state before the first step, ``states`` [time, batch,
    hidden] the one after each step, ``keep`` [time, batch, 1] is 0 where it was reset.
    """
    started_from = tf.concat([initial[tf.newaxis], states], axis=0)[:-1]
    return started_from if keep is None else started_from * tf.cast(keep, states.dtype)


def kept(state: tf.Tensor, keep: tf.Tensor | None, time: tf.Tensor) -> tf.Tensor:
    """``state`` [hidden, batch] with the columns that are reset before step ``time`` zeroed.

    ``keep`` is [time, batch, 1].
    """
    return state if keep is None else state * tf.reshape(keep[time], [1, -1])
