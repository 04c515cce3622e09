"""Trains one kind of cell on the recall task, by the recipe that all kinds share.

The loss is that of the answer alone. How far back the key may lie grows with success: as soon as
nearly all answers of late are right, by a tenth (a curriculum: Zaremba & Sutskever 2014, Learning
to Execute). So every kind of cell gets as far as it can with the same number of updates; one that
cannot follow is not lost in sequences it can learn nothing from.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import keras
import numpy as np
import tensorflow as tf

from model.config import Cell, ModelConfig
from model.network.language_model import LanguageModel
from training.recall_task import MIN_DISTANCE, OVERHEAD, WORDS, RecallSequences, draw_sequences


@dataclass(frozen=True, kw_only=True)
class RecallRecipe:
    """What is the same for all cells.

    Attributes:
        hidden_size: width of the one recurrent layer.
        embedding_size: width of a word's vector.
        batch_size: sequences per update.
        num_updates: of the weights.
        learning_rate: at first; it falls to zero along half a cosine.
        clip_norm: largest global norm of a gradient.
        first_distance: the largest distance at the beginning.
        max_distance: the largest distance there is.
        mastered: the share of right answers of late, from which on the distance grows.
        seed: of weights and sequences.
    """

    hidden_size: int = 64
    embedding_size: int = 32
    batch_size: int = 64
    num_updates: int = 600
    learning_rate: float = 3e-3
    clip_norm: float = 1.0
    first_distance: int = 4
    max_distance: int = 200
    mastered: float = 0.9
    seed: int = 1


@dataclass(frozen=True, kw_only=True)
class RecallStatus:
    """Where training stands: updates made, largest distance so far, right answers of late."""

    update: int
    distance: int
    accuracy: float

    def line(self) -> str:
        """The status as one line of text."""
        return f"update {self.update} · up to {self.distance} steps · {self.accuracy:.0%} right"


class RecallTrainer:
    """One network on its way to recalling ever further back.

    Args:
        cell: kind of cell.
        recipe: how it is trained.
    """

    def __init__(self, cell: Cell, recipe: RecallRecipe) -> None:
        self._recipe = recipe
        self._network = LanguageModel(
            ModelConfig(
                cell=cell,
                vocab_size=len(WORDS),
                embedding_size=recipe.embedding_size,
                hidden_size=recipe.hidden_size,
                tie_embeddings=False,
            ),
            initial_seed=recipe.seed,
        )
        self._variables = list(self._network.named_variables().values())
        self._optimizer = keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(recipe.learning_rate, recipe.num_updates),
            beta_2=0.99,
            global_clipnorm=recipe.clip_norm,
        )
        self._optimizer.build(self._variables)
        any_rows = [tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)]
        self._update = tf.function(self._update_graph, input_signature=any_rows)
        self._answer = tf.function(self._answer_graph, input_signature=any_rows[:1])

    def train(self, show: Callable[[RecallStatus], None]) -> RecallStatus:
        """Trains to the end, telling ``show`` after every update; returns the last status."""
        recipe = self._recipe
        random = np.random.default_rng(recipe.seed)
        distance, accuracy = recipe.first_distance, 0.0
        status = RecallStatus(update=0, distance=distance, accuracy=accuracy)
        for update in range(1, recipe.num_updates + 1):
            spread = random.uniform(size=recipe.batch_size)
            distances = (MIN_DISTANCE * ((distance + 1) / MIN_DISTANCE) ** spread).astype(np.int64)
            sequences = draw_sequences(distances, distance + OVERHEAD, random)
            accuracy += 0.1 * (float(self._update(*sequences)) - accuracy)
            status = RecallStatus(update=update, distance=distance, accuracy=accuracy)
            show(status)
            if accuracy >= recipe.mastered and distance < recipe.max_distance:
                distance = min(recipe.max_distance, math.ceil(distance * 1.1))
                accuracy = min(accuracy, recipe.mastered - 0.05)
        return status

    def accuracy(self, sequences: RecallSequences) -> float:
        """The share of rows whose likeliest next word, of all words, is the answer."""
        predicted = np.concatenate(
            [
                self._answer(rows).numpy()
                for rows in np.array_split(sequences.inputs, -(-len(sequences.inputs) // 256))
            ]
        )
        return float(np.mean(predicted == sequences.answers))

    def _update_graph(self, inputs: tf.Tensor, answers: tf.Tensor) -> tf.Tensor:
        with tf.GradientTape() as tape:
            logits = self._logits(inputs)
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(answers, logits)
            loss = tf.reduce_mean(losses)
        gradients = tape.gradient(loss, [variable.value for variable in self._variables])
        self._optimizer.apply(gradients, self._variables)
        right = tf.argmax(logits, axis=1, output_type=tf.int32) == answers
        return tf.reduce_mean(tf.cast(right, tf.float32))

    def _answer_graph(self, inputs: tf.Tensor) -> tf.Tensor:
        return tf.argmax(self._logits(inputs), axis=1, output_type=tf.int32)

    def _logits(self, inputs: tf.Tensor) -> tf.Tensor:
        """Logits [rows, vocab] of the word behind each cue."""
        state = self._network.initial_state(tf.shape(inputs)[0])
        features, _ = self._network.hidden(inputs, state, training=True)
        return self._network.output_logits(features[:, -1])
