"""One training step and one validation as TensorFlow graphs, with all that they change."""

from __future__ import annotations

from collections.abc import Mapping

import keras
import numpy as np
import tensorflow as tf

from model.network.language_model import LanguageModel
from model.state import FloatArray, IntArray
from training.batches import Window
from training.data_parallel import ALONE, Workers
from training.optimizer import AdamW
from training.plan import Plan
from training.towers import total_loss


def make_deterministic(seed: int) -> None:
    """The same seed gives the same bits from here on, on one machine."""
    keras.utils.set_random_seed(seed)
    tf.config.experimental.enable_op_determinism()


class TrainingStep:
    """A network, its optimizer, and the recurrent state carried from step to step.

    Args:
        plan: sizes, optimizer settings and seed.
        workers: among whom the rows of a batch are shared out.

    Attributes:
        model: the network.
        state: [rows of this worker, state size], after the last step.
    """

    def __init__(self, plan: Plan, workers: Workers = ALONE) -> None:
        make_deterministic(plan.seed)
        self._plan = plan
        self._workers = workers
        self._rows = workers.rows(plan.batch_size)
        self.model = LanguageModel(
            plan.config,
            compute_dtype=plan.compute_dtype,
            recurrence=plan.recurrence,
            initial_seed=plan.seed,
            weight_dropout=plan.weight_dropout,
            embedding_dropout=plan.embedding_dropout,
            activation_penalty=plan.activation_penalty,
            temporal_penalty=plan.temporal_penalty,
        )
        variables = self.model.named_variables()
        self._variables = [variable.value for variable in variables.values()]
        self._optimizer = AdamW(
            list(variables),
            self._variables,
            weight_decay=plan.weight_decay,
            clip_norm=plan.clip_norm,
            average_decay=plan.average_decay,
        )
        num_rows = self._rows.stop - self._rows.start
        self.state: FloatArray = np.zeros((num_rows, plan.config.state_size), np.float32)
        self._averaged = LanguageModel(plan.config, compute_dtype=plan.compute_dtype)
        self._train = workers.compiled(self._train_graph)
        self._validate = tf.function(self._validate_graph)

    def train(self, window: Window, step: int, learning_rate: float) -> tuple[float, float]:
        """Updates the weights on ``window`` and carries the state on.

        Returns:
            The mean loss in nats per token, and the norm of the gradient before clipping.
        """
        loss, norm, state = self._train(
            inputs=tf.constant(window.inputs[self._rows]),
            targets=tf.constant(window.targets[self._rows]),
            reset=tf.constant(window.reset[self._rows]),
            state=tf.constant(self.state),
            step=tf.constant(step, tf.int32),
            learning_rate=tf.constant(learning_rate, tf.float32),
        )
        self.state = state.numpy()
        return float(loss), float(norm)

    def validate(self, rows: IntArray, window: int, end_of_text_id: int) -> float:
        """Mean loss in nats per token of the averaged weights.

        Args:
            rows: [rows, tokens + 1] int32, each read from left to right, ``tokens`` a multiple of
                ``window``.
            window: tokens read at once.
            end_of_text_id: the state is zeroed before it.
        """
        self._averaged.assign_weights(self._optimizer.averaged_weights())
        state = self._averaged.initial_state(len(rows))
        total: float = 0.0
        num_windows = (rows.shape[1] - 1) // window
        for index in range(num_windows):
            piece = rows[:, index * window : (index + 1) * window + 1]
            inputs = tf.constant(piece[:, :-1])
            loss, state = self._validate(
                inputs, tf.constant(piece[:, 1:]), inputs == end_of_text_id, state
            )
            total += float(loss)
        return float(total / num_windows)

    def averaged_weights(self) -> dict[str, FloatArray]:
        """The moving average of the weights, by canonical name."""
        return self._optimizer.averaged_weights()

    def arrays(self) -> dict[str, FloatArray]:
        """All that a checkpoint must hold to go on from here."""
        weights = {f"weights/{name}": value for name, value in self.model.weights_by_name().items()}
        state = self._workers.all_rows(self.state)
        return {**weights, **self._optimizer.slots(), "state": state}

    def assign(self, arrays: Mapping[str, FloatArray]) -> None:
        """Sets what ``arrays`` returned."""
        self.model.assign_weights(
            {name: arrays[f"weights/{name}"] for name in self._plan.config.weight_shapes()}
        )
        self._optimizer.assign_slots(arrays)
        self.state = arrays["state"][self._rows]

    def start_from(self, weights: Mapping[str, FloatArray]) -> None:
        """Makes ``weights`` the start of training, in place of random ones."""
        self.model.assign_weights(weights)
        slots = self._optimizer.slots()
        slots.update({f"average/{name}": value for name, value in weights.items()})
        self._optimizer.assign_slots(slots)

    def _train_graph(
        self,
        *,
        inputs: tf.Tensor,
        targets: tf.Tensor,
        reset: tf.Tensor,
        state: tf.Tensor,
        step: tf.Tensor,
        learning_rate: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        # Rows that are shared out draw dropout of their own.
        own = tf.constant(self._workers.cluster.index << 24, tf.int32)
        seed = tf.stack([tf.constant(self._plan.seed, tf.int32) + own, step])
        with tf.GradientTape() as tape:
            nats, state = total_loss(
                self.model, inputs, targets, state, reset=reset, training=True, seed=seed
            )
            loss = nats / tf.cast(tf.size(targets), tf.float32)
        gradients = [
            tf.convert_to_tensor(gradient) for gradient in tape.gradient(loss, self._variables)
        ]
        loss, *gradients = self._workers.mean([loss, *gradients])
        norm = self._optimizer.apply(gradients, tf.cast(step, tf.float32), learning_rate)
        return loss, norm, state

    def _validate_graph(
        self, inputs: tf.Tensor, targets: tf.Tensor, reset: tf.Tensor, state: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        nats, state = total_loss(self._averaged, inputs, targets, state, reset=reset)
        return nats / tf.cast(tf.size(targets), tf.float32), state
