"""Towers: the same loss, states and gradients as the batch in one piece."""

import numpy as np
import pytest
import tensorflow as tf

from model.config import ModelConfig
from model.network.language_model import LanguageModel
from training import towers
from training.towers import num_towers, total_loss

CONFIG = ModelConfig(
    vocab_size=40, cell="lstm", embedding_size=8, hidden_size=16, num_layers=2, dropout=0.4
)


@pytest.mark.parametrize(
    ("batch_size", "cores", "expected"),
    [
        (64, 2, 2),
        (64, 1, 1),
        (1, 8, 1),
        (15, 2, 1),
        (16, 2, 2),
        (48, 5, 4),
        (21, 2, 1),
        (64, 64, 8),
    ],
)
def test_towers_are_equal_parts_of_the_batch_and_not_too_small(batch_size, cores, expected):
    assert num_towers(batch_size, cores) == expected


def test_a_graphics_processor_gets_the_whole_batch(monkeypatch):
    monkeypatch.setattr(towers, "num_cores", lambda: 8)
    assert num_towers(64) == 8
    monkeypatch.setattr(towers, "sees_graphics_processor", lambda: True)
    assert num_towers(64) == 1


def batch(rows=16, time=7):
    generator = np.random.default_rng(3)
    ids = tf.constant(generator.integers(0, 40, [rows, time]), tf.int32)
    targets = tf.constant(generator.integers(0, 40, [rows, time]), tf.int32)
    state = tf.constant(generator.normal(size=[rows, CONFIG.state_size]), tf.float32)
    mask = tf.constant(generator.random([rows, time]) < 0.8)
    reset = tf.constant(generator.random([rows, time]) < 0.2)
    return ids, targets, state, {"mask": mask, "reset": reset}


@pytest.mark.parametrize("cores", [1, 2])
def test_loss_state_and_gradients_are_those_of_the_whole_batch(monkeypatch, cores):
    monkeypatch.setattr(towers, "num_cores", lambda: cores)
    model = LanguageModel(CONFIG, initial_seed=5)
    ids, targets, state, flags = batch()
    variables = [variable.value for variable in model.named_variables().values()]
    results = []
    for loss_of in (model.total_loss, lambda *a, **k: total_loss(model, *a, **k)):
        with tf.GradientTape() as tape:
            nats, after = loss_of(ids, targets, state, **flags)
        results.append((nats, after, *tape.gradient(nats, variables)))
    for whole, in_towers in zip(*results, strict=True):
        np.testing.assert_allclose(in_towers, whole, rtol=1e-4, atol=1e-5)


def test_each_tower_has_dropout_of_its_own(monkeypatch):
    monkeypatch.setattr(towers, "num_cores", lambda: 2)
    model = LanguageModel(CONFIG, initial_seed=5)
    ids, targets, state, _ = batch()
    twice = [tf.concat([tensor[:8], tensor[:8]], axis=0) for tensor in (ids, targets, state)]
    _, after = total_loss(model, *twice, training=True, seed=tf.constant([1, 2]))
    assert np.abs(after[:8] - after[8:]).max() > 1e-3
