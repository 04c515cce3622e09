"""Walking over time steps, and the matrix products over all of them at once.

Outside the walk every sequence is [time, batch, width], so that a time step is contiguous. Inside
it a step's tensors are [width, batch], the weights transposed once before: a wide matrix times a
narrow one is up to twice as fast as the other way round (docs/experiments.md, Training).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import tensorflow as tf

#: Products in bfloat16 are up to a sixth quicker where what is summed up is a multiple of this:
#: AMX takes 32 products at once, and rows of a matrix begin at whole words.
TILE = 32


class Record(NamedTuple):
    """What a tensor kept of every step looks like."""

    width: int | tf.Tensor
    batch: tf.Tensor
    dtype: tf.DType


class StepRecord:
    """What a walk has kept of every time step: a tensor [width, batch] per step, unstacked.

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

    def as_sequence(self) -> tf.Tensor:
        """All steps as a sequence [time, batch, width]. ``time`` may be 0."""
        return tf.transpose(self._stacked(), [0, 2, 1])

    def side_by_side(self) -> tf.Tensor:
        """All steps beside each other, [width, time * batch]. ``time`` may be 0."""
        stacked = tf.transpose(self._stacked(), [1, 0, 2])
        return tf.reshape(stacked, [tf.shape(stacked)[0], -1])

    def _stacked(self) -> tf.Tensor:
        """[time, width, batch], a copy."""
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
    shapes = [tf.stack([record.width, record.batch]) for record in records]
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


class Resets:
    """Where rows of the batch start from the zero state within a walk.

    At most steps of most walks nobody does; what looks first is faster than a product with ones.

    Args:
        keep: [time, batch, 1], 0 where the state is zeroed before that step, else 1; None where it
            never is.
    """

    def __init__(self, keep: tf.Tensor | None) -> None:
        self._keep = keep
        if keep is not None:
            self._rows = tf.transpose(keep, [0, 2, 1])
            self._any = tf.reduce_any(keep < 1.0, axis=[1, 2])

    def applied(self, time: tf.Tensor, *states: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """``states`` [width, batch], their columns zeroed where step ``time`` starts from zero."""
        if self._keep is None:
            return states

        def zeroed() -> tuple[tf.Tensor, ...]:
            row = self._rows[time]
            return tuple(state * tf.cast(row, state.dtype) for state in states)

        outcome: tuple[tf.Tensor, ...] = tf.cond(
            self._any[time], zeroed, lambda: tuple(tf.identity(state) for state in states)
        )
        return outcome


def transposed_weights(*weights: tf.Tensor, dtype: tf.DType) -> tf.Tensor:
    """Matrices [rows, columns] and vectors [columns], stacked and transposed.

    Returns [columns, rows of all] in ``dtype``. Times a step's inputs, hidden state and what
    ``ones_below`` gives, one below the other, it gives the sums of all gates in one product. In
    bfloat16 columns of zeros follow, up to the next multiple of ``TILE``.
    """
    rows = [w if w.shape.rank == 2 else w[tf.newaxis] for w in weights]
    stacked = tf.cast(tf.concat(rows, axis=0), dtype)
    if dtype == tf.bfloat16:
        stacked = tf.pad(stacked, [[0, -stacked.shape[0] % TILE], [0, 0]])
    return tf.transpose(stacked)


def ones_below(weights: tf.Tensor, width: int, batch_size: tf.Tensor) -> tf.Tensor:
    """What a step reads below its first ``width`` rows: ones for the bias, then zeros.

    ``weights`` [columns, rows of all] are those of ``transposed_weights``, whose dtype it has.
    """
    is_bias = tf.range(width, weights.shape[1]) == width
    return tf.repeat(tf.cast(is_bias, weights.dtype)[:, tf.newaxis], batch_size, axis=1)


def columns(sequence: tf.Tensor) -> tf.Tensor:
    """[time, batch, width] -> [time, width, batch]: its steps as they are inside a walk."""
    return tf.transpose(sequence, [0, 2, 1])


def input_gradient(sum_gradients: tf.Tensor, kernel: tf.Tensor, num_steps: tf.Tensor) -> tf.Tensor:
    """The gradient of [time, batch, in] inputs: one product over all steps.

    ``sum_gradients`` [out, time * batch] is that of the inputs times ``kernel`` [in, out].
    """
    product = tf.matmul(kernel, sum_gradients)
    by_step = tf.reshape(product, [kernel.shape[0], num_steps, -1])
    return tf.transpose(by_step, [1, 2, 0])


def weight_gradients(read: tf.Tensor, sum_gradients: tf.Tensor, *rows: int) -> list[tf.Tensor]:
    """The gradients of the weights that were stacked and transposed: one product, float32.

    ``read`` [rows of all, time * batch] is what they were multiplied with, ``sum_gradients``
    [out, time * batch] the gradient of what that gave. Returns [rows, out] of each.
    """
    product = tf.cast(tf.matmul(read, sum_gradients, transpose_b=True), tf.float32)
    return list(tf.split(product, [*rows, -1], axis=0))[: len(rows)]


def gradients_of_one_product(
    sums: StepRecord,
    read: StepRecord,
    kernel: tf.Tensor,
    hidden_size: int,
    num_steps: tf.Tensor,
) -> tuple[tf.Tensor, ...]:
    """Those of inputs, kernel, recurrent kernel and bias, where one product makes a step's sums.

    Args:
        sums: the gradients of the sums, [out, batch] a step.
        read: what was multiplied, below one another inputs, hidden state, ones: [rows, batch] a
            step.
        kernel: [in, out], in the compute dtype.
        hidden_size: rows of the hidden state.
        num_steps: of the walk, a scalar int32.
    """
    sum_gradients = sums.side_by_side()
    d_kernel, d_recurrent_kernel, d_bias = weight_gradients(
        read.side_by_side(), sum_gradients, kernel.shape[0], hidden_size, 1
    )
    d_inputs = input_gradient(sum_gradients, kernel, num_steps)
    return d_inputs, d_kernel, d_recurrent_kernel, d_bias[0]
