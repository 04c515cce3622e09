"""``RecurrentLayer``: what SimpleRNN, GRU and LSTM share, weights, shapes and precision."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal

import keras
import tensorflow as tf

from model.config import NUM_GATES, NUM_STATE_TENSORS, Cell
from model.network.cells.keras_recurrence import KerasRecurrence, Recurrence

ComputeDtype = Literal["float32", "bfloat16"]


def dtype_policy(compute_dtype: ComputeDtype) -> keras.DTypePolicy:
    """The Keras policy that computes in ``compute_dtype`` and keeps weights in float32."""
    return keras.DTypePolicy("mixed_bfloat16" if compute_dtype == "bfloat16" else "float32")


class RecurrentLayer(keras.layers.Layer):  # type: ignore[misc]
    """A recurrent layer over [time, batch, input] sequences with a carried, resettable state.

    Matrix products, and what comes out of them, are in the compute dtype; master weights, gates,
    an LSTM's cells and their gradients, and the state are float32.

    Weights: ``kernel`` [input, gates * hidden], ``recurrent_kernel`` [hidden, gates * hidden],
    ``bias`` [gates * hidden] ([2, gates * hidden] for a GRU); all float32, zeros until assigned.

    Args:
        input_size: width of what the layer reads.
        hidden_size: width of the hidden state.
        compute_dtype: "float32" or "bfloat16".
        recurrence: "loop", our own walk through time, or "keras", as Keras runs it.
        name: the layer's name.
    """

    cell: ClassVar[Cell]

    def __init__(
        self,
        input_size: int,
        hidden_size: int,
        *,
        compute_dtype: ComputeDtype = "float32",
        recurrence: Recurrence = "loop",
        name: str | None = None,
    ) -> None:
        super().__init__(name=name, dtype=dtype_policy(compute_dtype), autocast=False)
        gates = NUM_GATES[self.cell] * hidden_size
        self.hidden_size = hidden_size
        self.state_size = NUM_STATE_TENSORS[self.cell] * hidden_size
        bias_shape = (2, gates) if self.cell == "gru" else (gates,)
        self.kernel = self._add_zeros("kernel", (input_size, gates))
        self.recurrent_kernel = self._add_zeros("recurrent_kernel", (hidden_size, gates))
        self.bias = self._add_zeros("bias", bias_shape)
        self.recurrence = recurrence
        self._by_keras = None
        if recurrence == "keras":
            self._by_keras = KerasRecurrence(self.cell, input_size, hidden_size, self.dtype_policy)
        self.built = True

    def _add_zeros(self, name: str, shape: tuple[int, ...]) -> keras.Variable:
        return self.add_weight(name=name, shape=shape, initializer="zeros", autocast=False)

    def call(
        self,
        inputs: tf.Tensor,
        state: tf.Tensor,
        *,
        keep: tf.Tensor | None = None,
        recurrent_kernel: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads a sequence.

        Args:
            inputs: [time, batch, input], any float dtype; ``time`` may be 0 (by Keras: not).
            state: [batch, state_size] float32: h, for an LSTM followed by c.
            keep: [time, batch, 1] float32, 0 where the state is zeroed before that step, else 1;
                None where nothing is reset.
            recurrent_kernel: [hidden, gates * hidden] float32 to use in place of the layer's own,
                such as one with weights dropped.

        Returns:
            Hidden states [time, batch, hidden] in the compute dtype, and the state after the
            last step, [batch, state_size] float32.
        """
        if recurrent_kernel is None:
            recurrent_kernel = self.recurrent_kernel
        weights = [
            tf.convert_to_tensor(weight) for weight in (self.kernel, recurrent_kernel, self.bias)
        ]
        inputs = tf.cast(inputs, self.compute_dtype)
        if self._by_keras is not None:
            outputs, final = self._by_keras(inputs, state, keep, weights)
        else:
            differentiable = tf.custom_gradient(
                lambda *arguments: self.forward_and_gradient(*arguments, keep=keep)
            )
            outputs, final = differentiable(inputs, *weights, state)
        outputs.set_shape([inputs.shape[0], inputs.shape[1], self.hidden_size])
        return outputs, final

    @staticmethod
    def forward_and_gradient(
        inputs: tf.Tensor,
        kernel: tf.Tensor,
        recurrent_kernel: tf.Tensor,
        bias: tf.Tensor,
        initial: tf.Tensor,
        *,
        keep: tf.Tensor | None,
    ) -> tuple[tuple[tf.Tensor, tf.Tensor], Callable[..., tuple[tf.Tensor, ...]]]:
        """The cell's equations over a sequence: what ``call`` returns, and the walk back.

        Args:
            inputs: as for ``call``, in the compute dtype.
            kernel: [input, gates * hidden] float32.
            recurrent_kernel: [hidden, gates * hidden] float32.
            bias: [gates * hidden] or [2, gates * hidden] float32.
            initial: the state before the first step.
            keep: as for ``call``.

        Returns:
            Hidden states and final state; and the function that makes of their gradients those
            of the five tensors above, as ``tf.custom_gradient`` wants it.
        """
        raise NotImplementedError

    def get_config(self) -> dict[str, Any]:
        """The arguments of the constructor."""
        return {
            "input_size": self.kernel.shape[0],
            "hidden_size": self.hidden_size,
            "compute_dtype": self.compute_dtype,
            "recurrence": self.recurrence,
            "name": self.name,
        }
