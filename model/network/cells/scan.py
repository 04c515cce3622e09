"""Walking over time steps, and the matrix products over all of them at once.

Inside the cells every sequence is [time, batch, width], so that a time step is contiguous.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import tensorflow as tf


class StepRecord:
    """What a walk has kept of every time step: one [batch, width] tensor per step, unstacked.

    The steps stay the tensors they were, so that keeping them for the walk back copies nothing.
    """

    def __init__(self, handle: tf.Tensor, step_shape: tf.Tensor, dtype: tf.DType) -> None:
        self._handle = handle
        self._step_shape = step_shape
        self._dtype = dtype

    def at(self, time: tf.Tensor) -> tf.Tensor:
        """The tensor [batch, width] kept at step ``time``."""
        return tf.raw_ops.TensorListGetItem(
            input_handle=self._handle,
            index=time,
            element_shape=self._step_shape,
            element_dtype=self._dtype,
        )

    def stacked(self) -> tf.Tensor:
        """All steps as one tensor [time, batch, width]; a copy. ``time`` may be 0."""
        return tf.raw_ops.TensorListStack(
            input_handle=self._handle,
            element_shape=self._step_shape,
            element_dtype=self._dtype,
        )


def scan_time(
    step: Callable[..., tuple[Sequence[tf.Tensor], Sequence[tf.Tensor]]],
    carry: Sequence[tf.Tensor],
    records: Sequence[tuple[int, tf.DType]],
    *,
    num_steps: tf.Tensor,
    backwards: bool = False,
) -> tuple[tuple[tf.Tensor, ...], list[StepRecord]]:
    """Calls ``step`` once per time step, handing the carried tensors on.

    Args:
        step: ``step(time, *carry) -> (carry, kept)``; the carried tensors keep their shapes.
        carry: tensors [batch, ...] before the first step.
        records: width and dtype of each tensor [batch, width] that ``step`` keeps.
        num_steps: number of time steps, a scalar int32; may be 0.
        backwards: walk from the last step to the first.

    Returns:
        The tensors carried out of the walk, and a record of each kept tensor, in time order
        whichever way the walk went.
    """
    batch_size = tf.shape(carry[0])[0]
    step_shapes = [tf.stack([batch_size, width]) for width, _ in records]
    handles = tuple(
        tf.raw_ops.TensorListReserve(
            element_shape=shape, num_elements=num_steps, element_dtype=dtype
        )
        for shape, (_, dtype) in zip(step_shapes, records, strict=True)
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
        StepRecord(handle, shape, dtype)
        for handle, shape, (_, dtype) in zip(handles, step_shapes, records, strict=True)
    ]


def product(sequence: tf.Tensor, kernel: tf.Tensor, bias: tf.Tensor | None = None) -> tf.Tensor:
    """``sequence`` [time, batch, in] times ``kernel`` [in, out], one product over all steps.

    ``bias`` [out] is added to it. Returns [time, batch, out].
    """
    shape = tf.shape(sequence)
    rows = tf.matmul(tf.reshape(sequence, [-1, kernel.shape[0]]), kernel)
    if bias is not None:
        rows = tf.nn.bias_add(rows, tf.cast(bias, rows.dtype))
    return tf.reshape(rows, [shape[0], shape[1], kernel.shape[1]])


def kernel_gradient(sequence: tf.Tensor, output_gradient: tf.Tensor) -> tf.Tensor:
    """The gradient of ``kernel`` in ``product(sequence, kernel)``: one product, float32.

    ``sequence`` is [time, batch, in], ``output_gradient`` [time, batch, out]; returns [in, out].
    """
    rows = tf.reshape(sequence, [-1, sequence.shape[2]])
    gradients = tf.reshape(output_gradient, [-1, output_gradient.shape[2]])
    return tf.cast(tf.matmul(rows, gradients, transpose_a=True), tf.float32)


def previous_states(initial: tf.Tensor, states: tf.Tensor, keep: tf.Tensor | None) -> tf.Tensor:
    """The state each step started from, reset included: [time, batch, hidden].

    ``initial`` [batch, hidden] is the state before the first step, ``states`` [time, batch,
    hidden] the one after each step, ``keep`` [time, batch, 1] is 0 where it was reset.
    """
    started_from = tf.concat([initial[tf.newaxis], states], axis=0)[:-1]
    return started_from if keep is None else started_from * tf.cast(keep, states.dtype)


def kept(state: tf.Tensor, keep: tf.Tensor | None, time: tf.Tensor) -> tf.Tensor:
    """``state`` [batch, hidden] with the rows that are reset before step ``time`` zeroed."""
    return state if keep is None else state * keep[time]
