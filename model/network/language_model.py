"""The recurrent language model as a Keras model: embedding, stacked layers, output."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import tensorflow as tf

from model.config import ModelConfig
from model.network.activation_penalty import activation_penalty
from model.network.cells.gru import GRU
from model.network.cells.keras_recurrence import Recurrence
from model.network.cells.lstm import LSTM
from model.network.cells.recurrent_layer import ComputeDtype, RecurrentLayer, dtype_policy
from model.network.cells.simple_rnn import SimpleRNN
from model.network.dropout import dropout_over_time, dropped_weights, dropped_words
from model.network.initialisation import initial_weights
from model.network.output import cross_entropy_sum, embed
from model.state import FloatArray

CELLS: Mapping[str, type[RecurrentLayer]] = {"simple_rnn": SimpleRNN, "gru": GRU, "lstm": LSTM}

#: Where masks of their own are drawn, beside those of the units from 0 on.
_WORDS, _RECURRENT_WEIGHTS = 1_000, 2_000


class LanguageModel(keras.Model):  # type: ignore[misc]
    """Token ids in, logits of the next token and recurrent state out; for training.

    Weights are float32 whatever the compute dtype; logits, losses and states are float32.

    Args:
        config: sizes and kind.
        compute_dtype: dtype of the matrix products, "float32" or "bfloat16".
        recurrence: how layers walk through time, "loop" (ours) or "keras" (by Keras' layers).
        initial_seed: seed of the weights the model starts with.
        weight_dropout: probability that a recurrent weight is dropped while training.
        embedding_dropout: probability that a word is dropped while training.
        activation_penalty: weight of the size of the last layer's outputs while training.
        temporal_penalty: weight of their change from token to token while training.
    """

    def __init__(
        self,
        config: ModelConfig,
        *,
        compute_dtype: ComputeDtype = "float32",
        recurrence: Recurrence = "loop",
        initial_seed: int = 0,
        weight_dropout: float = 0.0,
        embedding_dropout: float = 0.0,
        activation_penalty: float = 0.0,
        temporal_penalty: float = 0.0,
    ) -> None:
        super().__init__(name="language_model", dtype=dtype_policy(compute_dtype), autocast=False)
        self.config = config
        self._weight_dropout = weight_dropout
        self._embedding_dropout = embedding_dropout
        self._activation_penalty = activation_penalty
        self._temporal_penalty = temporal_penalty
        shapes = config.weight_shapes()
        self._variables_by_name = {
            name: self.add_weight(
                name=name.replace("/", "_"),
                shape=shape,
                initializer="zeros",
                dtype="float32",
                autocast=False,
            )
            for name, shape in shapes.items()
            if not name.startswith("layer_")
        }
        self.recurrent_layers: list[RecurrentLayer] = []
        for index in range(config.num_layers):
            layer = CELLS[config.cell](
                config.input_size(index),
                config.hidden_size,
                compute_dtype=compute_dtype,
                recurrence=recurrence,
                name=f"layer_{index}",
            )
            self.recurrent_layers.append(layer)
            self._variables_by_name[f"layer_{index}/kernel"] = layer.kernel
            self._variables_by_name[f"layer_{index}/recurrent_kernel"] = layer.recurrent_kernel
            self._variables_by_name[f"layer_{index}/bias"] = layer.bias
        self.built = True
        self.assign_weights(initial_weights(config, initial_seed))

    def initial_state(self, batch_size: int | tf.Tensor) -> tf.Tensor:
        """The state before any token: [batch, state_size] float32 of zeros."""
        return tf.zeros([batch_size, self.config.state_size])

    def call(
        self,
        token_ids: tf.Tensor,
        state: tf.Tensor,
        *,
        reset: tf.Tensor | None = None,
        training: bool = False,
        seed: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Reads token ids and predicts, after each, the one that follows.

        Args:
            token_ids: [batch, time] int32; ``time`` may be 0.
            state: [batch, state_size] float32, as laid out by ``model.state.RecurrentState``.
            reset: [batch, time] bool: zero the state before that token is read.
            training: apply dropout.
            seed: [2] int32 that decides the dropout masks; needed while training with dropout.

        Returns:
            Logits [batch, time, vocab] float32 and the state after the last token,
            [batch, state_size] float32.
        """
        features, state = self.hidden(token_ids, state, reset=reset, training=training, seed=seed)
        return self.output_logits(features), state

    def hidden(
        self,
        token_ids: tf.Tensor,
        state: tf.Tensor,
        *,
        reset: tf.Tensor | None = None,
        training: bool = False,
        seed: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """What the output matrix is multiplied with; arguments as of ``call``.

        Returns:
            Features [batch, time, embedding] (tied) or [batch, time, hidden] (untied) in the
            compute dtype, and the state after the last token.
        """
        features, state, _ = self._features(
            token_ids, state, reset=reset, training=training, seed=seed
        )
        return tf.transpose(features, [1, 0, 2]), state

    def output_logits(self, features: tf.Tensor) -> tf.Tensor:
        """Logits [..., vocab] float32 of features [..., embedding-or-hidden]."""
        features = tf.cast(features, self.compute_dtype)
        kernel, transposed = self._output_kernel()
        rows = tf.reshape(features, [-1, features.shape[-1]])
        logits = tf.matmul(rows, tf.cast(kernel, self.compute_dtype), transpose_b=transposed)
        logits = tf.cast(logits, tf.float32) + self._weight("output/bias")
        return tf.reshape(
            logits, tf.concat([tf.shape(features)[:-1], [self.config.vocab_size]], axis=0)
        )

    def total_loss(
        self,
        token_ids: tf.Tensor,
        targets: tf.Tensor,
        state: tf.Tensor,
        *,
        mask: tf.Tensor | None = None,
        reset: tf.Tensor | None = None,
        training: bool = False,
        seed: tf.Tensor | None = None,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Cross-entropy of ``targets`` given ``token_ids``, summed, without keeping all logits.

        Args:
            token_ids: [batch, time] int32, what is read.
            targets: [batch, time] int32, what should follow each token.
            state: [batch, state_size] float32.
            mask: [batch, time] bool or float, weight of each target; None counts all alike.
            reset: [batch, time] bool: zero the state before that token is read.
            training: apply dropout, and work out gradients on the way forward.
            seed: [2] int32 that decides the dropout masks.

        Returns:
            The sum over batch and time of the weighted losses in nats, a float32 scalar, and
            the state after the last token. Penalties, while training, are in the gradients of the
            sum, not in its value.
        """
        features, state, penalty = self._features(
            token_ids, state, reset=reset, training=training, seed=seed
        )
        kernel, transposed = self._output_kernel()
        if mask is None:
            mask = tf.ones_like(targets, tf.float32)
        nats = cross_entropy_sum(
            tf.reshape(features, [-1, features.shape[-1]]),
            kernel if transposed else tf.transpose(kernel),
            self._weight("output/bias"),
            tf.reshape(tf.transpose(targets), [-1]),
            tf.reshape(tf.transpose(tf.cast(mask, tf.float32)), [-1]),
            training=training,
        )
        return nats + (penalty - tf.stop_gradient(penalty)), state

    def named_variables(self) -> dict[str, keras.Variable]:
        """The trainable variables under their canonical names, in the order of the config."""
        return {name: self._variables_by_name[name] for name in self.config.weight_shapes()}

    def weights_by_name(self) -> dict[str, FloatArray]:
        """Copies of all weights under their canonical names, float32."""
        return {
            name: variable.value.numpy().copy() for name, variable in self.named_variables().items()
        }

    def assign_weights(self, weights: Mapping[str, FloatArray]) -> None:
        """Sets all weights, or none.

        Raises:
            ValueError: a name is missing or unknown, or a shape is wrong.
        """
        shapes = self.config.weight_shapes()
        if set(weights) != set(shapes):
            raise ValueError(
                f"weights do not fit the model: missing {sorted(set(shapes) - set(weights))}, "
                f"unknown {sorted(set(weights) - set(shapes))}"
            )
        for name, shape in shapes.items():
            if tuple(weights[name].shape) != shape:
                raise ValueError(f"weight {name} has shape {weights[name].shape}; expected {shape}")
        for name, values in weights.items():
            self._variables_by_name[name].assign(values)

    def _features(
        self,
        token_ids: tf.Tensor,
        state: tf.Tensor,
        *,
        reset: tf.Tensor | None,
        training: bool,
        seed: tf.Tensor | None,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """As ``hidden``, with features [time, batch, ...] and the penalty on the activations."""
        rates = (self.config.dropout, self._weight_dropout, self._embedding_dropout)
        rate, weight_rate, word_rate = rates if training else (0.0, 0.0, 0.0)
        keep = None
        if reset is not None:
            keep = tf.expand_dims(1.0 - tf.cast(tf.transpose(reset), tf.float32), axis=2)
        token_ids = tf.transpose(token_ids)
        embedded = embed(self._weight("embedding"), token_ids)
        embedded = dropped_words(
            embedded, token_ids, self.config.vocab_size, word_rate, seed, site=_WORDS
        )
        sequence = tf.cast(embedded, self.compute_dtype)
        sequence = dropout_over_time(sequence, rate, seed, site=0)
        plain = sequence
        before = tf.split(state, self.config.num_layers, axis=1)
        after = []
        for index, layer in enumerate(self.recurrent_layers):
            kernel = dropped_weights(
                tf.convert_to_tensor(layer.recurrent_kernel),
                weight_rate,
                seed,
                site=_RECURRENT_WEIGHTS + index,
            )
            plain, layer_state = layer(sequence, before[index], keep=keep, recurrent_kernel=kernel)
            sequence = dropout_over_time(plain, rate, seed, site=index + 1)
            after.append(layer_state)
        penalty = activation_penalty(
            sequence,
            plain,
            size_weight=self._activation_penalty if training else 0.0,
            change_weight=self._temporal_penalty if training else 0.0,
        )
        if self.config.has_projection:
            kernel = tf.cast(self._weight("projection/kernel"), self.compute_dtype)
            sequence = tf.tensordot(sequence, kernel, axes=1)
        return sequence, tf.concat(after, axis=1), penalty

    def _output_kernel(self) -> tuple[tf.Tensor, bool]:
        """The output matrix, and whether it is [vocab, width] rather than [width, vocab]."""
        if self.config.tie_embeddings:
            return self._weight("embedding"), True
        return self._weight("output/kernel"), False

    def _weight(self, name: str) -> tf.Tensor:
        return tf.convert_to_tensor(self._variables_by_name[name])
