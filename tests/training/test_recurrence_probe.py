"""What is chosen where TensorFlow sees a graphics processor, tried without one."""

import logging

import pytest
import tensorflow as tf

from model.config import ModelConfig
from model.network.language_model import LanguageModel
from training import recurrence_probe, speed
from training.recurrence_probe import faster_recurrence, quicker_recurrence

STEP = (ModelConfig(vocab_size=9, embedding_size=4, hidden_size=6, dropout=0.2), 4, 8, "float32")


@pytest.fixture
def fails(monkeypatch):
    """Has models of one recurrence fail with an error; the others are as they are."""

    def fail(failing, error):
        def make(config, *, recurrence, **options):
            if recurrence == failing:
                raise error
            return LanguageModel(config, recurrence=recurrence, **options)

        monkeypatch.setattr(recurrence_probe, "LanguageModel", make)

    return fail


def test_without_a_graphics_processor_nothing_is_measured(monkeypatch):
    monkeypatch.setattr(recurrence_probe, "LanguageModel", None)
    assert faster_recurrence(*STEP) == "loop"


def test_with_one_both_are_timed_and_the_quicker_is_taken(monkeypatch):
    """By a clock that runs slowly through the steps of one of them."""
    monkeypatch.setattr(recurrence_probe, "sees_graphics_processor", lambda: True)
    for quick in ("loop", "keras"):
        timed = []

        def seconds(step, quick=quick, timed=timed):
            timed.append(step().shape)
            first = len(timed) <= 3
            return 1.0 if first == (quick == "loop") else 2.0

        monkeypatch.setattr(speed, "_seconds", seconds)
        assert faster_recurrence(*STEP) == quick
        assert timed == [STEP[0].weight_shapes()["embedding"]] * 6


@pytest.mark.parametrize(
    ("failing", "error", "chosen"),
    [
        ("keras", tf.errors.UnimplementedError(None, None, "no kernel"), "loop"),
        ("keras", NotImplementedError("no cuDNN"), "loop"),
        ("loop", tf.errors.InternalError(None, None, "no compiler"), "keras"),
    ],
)
def test_what_fails_is_not_chosen_and_said(fails, caplog, failing, error, chosen):
    fails(failing, error)
    with caplog.at_level(logging.WARNING):
        assert quicker_recurrence(*STEP) == chosen
    assert f"recurrence {failing} does not run here" in caplog.text
