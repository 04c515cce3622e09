"""Gradient reach against finite differences of the NumPy oracle, and by what is known of it."""

import json

import numpy as np
import pytest

from model.config import ModelConfig
from model.network.initialisation import initial_weights
from model.runtime.numpy_runtime import NumpyRuntime
from model.scoring import token_logprobs
from training.gradient_reach import measure_gradient_reach
from training.reach_curve import GradientReach

VOCAB, END, STEPS = 11, 0, 5
DEEP = {"num_layers": 2, "tie_embeddings": False}


def network(cell, **settings):
    """A config, and weights large enough that all steps matter."""
    config = ModelConfig(cell=cell, vocab_size=VOCAB, **{"embedding_size": 4, "hidden_size": 5})
    config = ModelConfig(**{**config.to_dict(), **settings})
    random = np.random.default_rng(5)
    return config, {
        name: random.normal(0, 0.7, shape).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }


def text(*document_lengths):
    random = np.random.default_rng(3)
    documents = [[END, *random.integers(1, VOCAB, length - 1)] for length in document_lengths]
    return np.concatenate(documents).astype(np.uint16)


def loss_from(oracle, state, token_ids):
    """The loss of the last of ``token_ids`` after the others are read from ``state``."""
    after = oracle.prefill(token_ids[np.newaxis, :-1].astype(np.int32), state[np.newaxis])
    return -float(token_logprobs(oracle.logits(after), token_ids[-1:].astype(np.int32))[0])


def numeric_norms(config, weights, document, position):
    """||d loss / d state|| [steps + 1, state tensors] by central differences, k = 0 first."""
    oracle, small = NumpyRuntime(config, weights), 0.02
    norms = []
    for k in range(STEPS + 1):
        read = document[np.newaxis, : position - k + 1].astype(np.int32)
        state = oracle.prefill(read, oracle.initial_state(1))[0]
        rest = document[position - k + 1 : position + 2]
        gradient = np.array(
            [
                loss_from(oracle, state + change, rest) - loss_from(oracle, state - change, rest)
                for change in small * np.eye(len(state), dtype=np.float32)
            ]
        ) / (2 * small)
        by_tensor = gradient.reshape(config.num_layers, -1, config.hidden_size)
        norms.append(np.sqrt(np.square(by_tensor).sum(axis=(0, 2))))
    return np.array(norms)


@pytest.mark.parametrize(
    ("cell", "settings"),
    [("simple_rnn", {}), ("gru", {"embedding_size": 5}), ("lstm", {}), ("lstm", DEEP)],
    ids=["simple-rnn-projected", "gru-tied", "lstm-projected", "lstm-deep"],
)
def test_the_norms_are_those_of_finite_differences(cell, settings):
    config, weights = network(cell, **settings)
    document = text(10)
    reach = measure_gradient_reach(config, weights, document, END, max_steps=STEPS)
    positions = range(STEPS, len(document) - 1)
    assert reach.num_positions == len(positions)
    expected = np.mean([numeric_norms(config, weights, document, at) for at in positions], axis=0)
    np.testing.assert_allclose(reach.hidden, expected[:, 0], rtol=5e-3)
    assert len(reach.cell) == (STEPS + 1 if cell == "lstm" else 0)
    if reach.cell:
        np.testing.assert_allclose(reach.cell, expected[:, 1], rtol=5e-3)


def test_a_walk_never_crosses_the_start_of_a_document():
    config, weights = network("gru")
    long_document = text(40)
    alone = measure_gradient_reach(config, weights, long_document, END, max_steps=25)
    among_others = np.concatenate([text(9, 5), long_document])
    together = measure_gradient_reach(config, weights, among_others, END, max_steps=25)
    assert len(together.hidden) == 26
    assert together == alone


@pytest.mark.parametrize(("lengths", "steps"), [((2,), 0), ((4,) * 30, 3), ((300, 20), 200)])
def test_the_curve_ends_where_documents_do(lengths, steps):
    config, weights = network("simple_rnn")
    reach = measure_gradient_reach(config, weights, text(*lengths), END)
    assert len(reach.hidden) == steps + 1
    assert 1 <= reach.num_positions <= 128


def test_a_fresh_lstm_hands_gradients_on_through_its_cell_and_a_plain_network_does_not():
    """Forget gates near 1 against a recurrent matrix that halves whatever passes."""
    token_ids, kept = text(400), {}
    for cell in ("simple_rnn", "lstm"):
        config = ModelConfig(cell=cell, vocab_size=VOCAB, embedding_size=8, hidden_size=8)
        weights = initial_weights(config, 1)
        if cell == "lstm":
            weights["layer_0/bias"][8:16] = 6.0
        else:
            weights["layer_0/recurrent_kernel"] *= 0.5
        kept[cell] = measure_gradient_reach(config, weights, token_ids, END, max_steps=60)
    assert kept["lstm"].steps_above(0.1) == 60
    assert 0.5**60 > kept["simple_rnn"].shares()[60] > 0.0
    assert kept["simple_rnn"].steps_above(0.1) <= 4


def test_it_survives_json():
    reach = GradientReach(hidden=(1.0, 0.5), cell=(0.0, 0.25), num_positions=3)
    assert GradientReach.from_dict(json.loads(json.dumps(reach.to_dict()))) == reach
    assert reach.shares() == [1.0, 0.5]
    assert (reach.steps_above(0.5), reach.steps_above(0.6)) == (1, 0)
