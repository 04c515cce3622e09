"""The recurrence as Keras' own layers run it: by cuDNN where TensorFlow sees a graphics processor.

Slower than our walk through time on a plain processor (docs/benchmarks.md), and there for the other
kind: cuDNN keeps a whole sequence on the device, where a loop starts some kernels for each step.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import keras
import tensorflow as tf

from model.config import NUM_STATE_TENSORS, Cell

Recurrence = Literal["loop", "keras"]

#: All in the form that our cells compute and, of LSTM and GRU, cuDNN does.
KERAS_LAYERS: Mapping[Cell, type[keras.layers.Layer]] = {
    "simple_rnn": keras.layers.SimpleRNN,
    "gru": keras.layers.GRU,
    "lstm": keras.layers.LSTM,
}


class KerasRecurrence:
    """A layer of ``keras.layers`` that is lent weights, and whose state can be zeroed on the way.

    Such a layer reads a sequence from one state on. Where states are to be zeroed within it, it
    reads the sequence in pieces, one from each step before which any row's is.

    The state is carried in the compute dtype from piece to piece, an LSTM's cell from step to step
    too, which our own cells keep in float32.

    Args:
        cell: which layer.
        input_size: width of what it reads.
        hidden_size: width of its hidden state.
        policy: of the products, as ``dtype_policy`` makes it.
    """

    def __init__(
        self, cell: Cell, input_size: int, hidden_size: int, policy: keras.DTypePolicy
    ) -> None:
        self._num_state_tensors = NUM_STATE_TENSORS[cell]
        self._hidden_size = hidden_size
        zeros = dict.fromkeys(
            ("kernel_initializer", "recurrent_initializer", "bias_initializer"), "zeros"
        )
        self._layer = KERAS_LAYERS[cell](
            hidden_size, return_sequences=True, return_state=True, dtype=policy, **zeros
        )
        self._layer.build((None, None, input_size))

    def __call__(
        self,
        inputs: tf.Tensor,
        state: tf.Tensor,
        keep: tf.Tensor | None,
        weights: Sequence[tf.Tensor],
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads a sequence; can be differentiated by all arguments but ``keep``.

        Args:
            inputs: [time, batch, input] in the compute dtype; ``time`` at least 1.
            state: [batch, state size] float32.
            keep: [time, batch, 1] float32, 0 where the state is zeroed before that step; or None.
            weights: kernel, recurrent kernel and bias, float32.

        Returns:
            Hidden states [time, batch, hidden] in the compute dtype, and the state after the last
            step, [batch, state size] float32.
        """
        if keep is None:
            return self._read(inputs, state, weights)
        zeroed = tf.reduce_any(keep[:, :, 0] == 0.0, axis=1)
        first = tf.range(tf.shape(inputs)[0]) == 0
        starts = tf.cast(tf.where(zeroed | first)[:, 0], tf.int32)
        ends = tf.concat([starts[1:], tf.shape(inputs)[:1]], axis=0)
        num_pieces = tf.shape(starts)[0]

        def read_piece(
            number: tf.Tensor, state: tf.Tensor, pieces: tf.TensorArray
        ) -> tuple[tf.Tensor, tf.Tensor, tf.TensorArray]:
            start = starts[number]
            outputs, state = self._read(inputs[start : ends[number]], state * keep[start], weights)
            return number + 1, state, pieces.write(number, outputs)

        _, final, pieces = tf.while_loop(
            lambda number, *_: number < num_pieces,
            read_piece,
            (
                tf.constant(0),
                state,
                tf.TensorArray(
                    inputs.dtype,
                    size=num_pieces,
                    infer_shape=False,
                    element_shape=[None, inputs.shape[1], self._hidden_size],
                ),
            ),
        )
        return pieces.concat(), final

    def _read(
        self, inputs: tf.Tensor, state: tf.Tensor, weights: Sequence[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        parts = tf.split(tf.cast(state, inputs.dtype), self._num_state_tensors, axis=1)
        (outputs, *final), _ = self._layer.stateless_call(
            list(weights),
            self._layer.non_trainable_variables,
            tf.transpose(inputs, [1, 0, 2]),
            initial_state=parts,
        )
        final = tf.cast(tf.concat(final, axis=1), tf.float32)
        return tf.transpose(outputs, [1, 0, 2]), final
