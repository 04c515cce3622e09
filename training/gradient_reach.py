"""How far back the loss reaches: the norm of its gradient with respect to earlier states.

For the loss L_n of the token behind step n and the state carried k steps before, this is

    reach(k) = mean over positions n of || dL_n / dh_{n-k} ||,    k = 0, 1, 2, ...

A network can learn that something k steps back matters only as far as this lets it: where it falls
like a power below one, the gradient vanishes (Bengio, Simard & Frasconi 1994, Learning Long-Term
Dependencies with Gradient Descent is Difficult; Pascanu, Mikolov & Bengio 2013, On the Difficulty
of Training Recurrent Neural Networks). All k come from one walk back through time per position.

What a step hands on is what is differentiated by. For an LSTM that is h and c, each with the other
held fixed: dL/dc runs through the forget gates, dL/dh through the recurrent product.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from model.config import NUM_STATE_TENSORS, ModelConfig
from model.network.language_model import LanguageModel
from model.state import FloatArray, IntArray
from training.reach_curve import GradientReach
from training.token_file import TokenArray

MAX_STEPS = 200
MAX_POSITIONS = 128

#: So much of the text is looked at; positions are spread over it.
MAX_TOKENS = 1_000_000

#: Tokens read before the first state that is looked at, so that it is a state as met in use.
WARM_UP_TOKENS = 64

#: Floats of state that are walked back through side by side: bounds the memory.
STATE_FLOATS_AT_ONCE = 40_000


def measure_gradient_reach(
    config: ModelConfig,
    weights: Mapping[str, FloatArray],
    token_ids: TokenArray,
    end_of_text_id: int,
    *,
    max_steps: int = MAX_STEPS,
    max_positions: int = MAX_POSITIONS,
) -> GradientReach:
    """The gradient reach of a float32 network on held-out text.

    Only positions with so much of their document before them are taken: where documents are
    short, the curve ends where they do.

    Args:
        config: sizes.
        weights: by canonical name.
        token_ids: [tokens], at least two, each document led by ``end_of_text_id``.
        end_of_text_id: the state is zeroed before it.
        max_steps: the largest k.
        max_positions: evenly spread over the text.
    """
    token_ids = token_ids[: MAX_TOKENS + 1]
    network = LanguageModel(config)
    network.assign_weights(weights)
    positions, num_steps = _positions(token_ids, end_of_text_id, max_steps, max_positions)
    walk = _Walk(network, num_steps, end_of_text_id)
    rows_at_once = max(1, STATE_FLOATS_AT_ONCE // config.state_size)
    norms = [
        walk.norms(_rows(token_ids, chunk, num_steps, end_of_text_id), token_ids[chunk + 1])
        for chunk in np.array_split(positions, -(-len(positions) // rows_at_once))
    ]
    means = np.concatenate(norms, axis=1).mean(axis=1)
    hidden, *cell = (tuple(float(f"{norm:.6g}") for norm in column) for column in means.T)
    return GradientReach(hidden=hidden, cell=cell[0] if cell else (), num_positions=len(positions))


class _Walk:
    """Reads rows one token at a time, keeps every state, and walks back once from the last loss."""

    def __init__(self, network: LanguageModel, num_steps: int, end_of_text_id: int) -> None:
        self._network = network
        self._num_steps = num_steps
        self._end_of_text_id = end_of_text_id
        self._read = tf.function(self._read_graph, reduce_retracing=True)

    def norms(self, rows: IntArray, targets: TokenArray) -> NDArray[np.float64]:
        """Gradient norms [steps + 1, rows, state tensors], by steps back.

        Args:
            rows: [rows, time] int32; the last ``num_steps`` tokens begin no document.
            targets: [rows], what follows the last token.
        """
        state = self._network.initial_state(len(rows))
        state = self._read(tf.constant(rows[:, : -self._num_steps or None]), state)
        with tf.GradientTape() as tape:
            tape.watch(state)
            states = [state]
            for token_ids in rows.T[rows.shape[1] - self._num_steps :]:
                states.append(self._read(tf.constant(token_ids[:, np.newaxis]), states[-1]))
            losses = tf.nn.sparse_softmax_cross_entropy_with_logits(
                targets.astype(np.int32), self._logits(states[-1])
            )
        parts = tape.gradient(losses, states)[::-1]
        # Squares of what is left after many steps are too small for float32.
        gradients = np.stack([part.numpy().astype(np.float64) for part in parts])
        config = self._network.config
        by_tensor = gradients.reshape(
            *gradients.shape[:2],
            config.num_layers,
            NUM_STATE_TENSORS[config.cell],
            config.hidden_size,
        )
        norms: NDArray[np.float64] = np.sqrt(np.square(by_tensor).sum(axis=(2, 4)))
        return norms

    def _read_graph(self, token_ids: tf.Tensor, state: tf.Tensor) -> tf.Tensor:
        reset = token_ids == self._end_of_text_id
        return self._network.hidden(token_ids, state, reset=reset)[1]

    def _logits(self, state: tf.Tensor) -> tf.Tensor:
        """Logits [rows, vocab] of the next token, from the state alone."""
        config = self._network.config
        top = (config.num_layers - 1) * NUM_STATE_TENSORS[config.cell] * config.hidden_size
        features = state[:, top : top + config.hidden_size]
        if config.has_projection:
            features @= self._network.named_variables()["projection/kernel"].value
        return self._network.output_logits(features)


def _positions(
    token_ids: TokenArray, end_of_text_id: int, max_steps: int, max_positions: int
) -> tuple[NDArray[np.int64], int]:
    """Positions to walk back from, evenly spread, and how many steps each can go back."""
    last_read = np.arange(len(token_ids) - 1)
    starts = np.where(token_ids[:-1] == end_of_text_id, last_read, 0)
    depths = last_read - np.maximum.accumulate(starts)
    wanted = max(1, min(max_positions, len(depths) // 4))
    num_steps = int(min(max_steps, np.partition(depths, -wanted)[-wanted]))
    fitting = np.flatnonzero(depths >= num_steps)
    evenly = np.linspace(0, len(fitting) - 1, min(max_positions, len(fitting)))
    return fitting[evenly.round().astype(np.int64)], num_steps


def _rows(
    token_ids: TokenArray, positions: NDArray[np.int64], num_steps: int, end_of_text_id: int
) -> IntArray:
    """The tokens up to each position [rows, time]; before the text's start, empty documents."""
    back = np.arange(-num_steps - WARM_UP_TOKENS, 1)
    places = positions[:, np.newaxis] + back
    rows = np.where(places < 0, end_of_text_id, token_ids[np.maximum(places, 0)])
    return rows.astype(np.int32)
