"""The recall task: the answer is the marked word, at its distance, and nothing else tells it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from training.recall_task import (
    CHANCE,
    FIRST_FILLER,
    FIRST_KEY,
    KEYS,
    MARK,
    MARK_ID,
    MIN_DISTANCE,
    OVERHEAD,
    WORDS,
    draw_sequences,
)
from training.recall_training import RecallRecipe, RecallTrainer


@given(st.lists(st.integers(MIN_DISTANCE, 40), min_size=1, max_size=20), st.integers(0, 9))
def test_the_marked_word_is_the_answer_at_its_distance(distances, seed):
    num_steps = max(distances) + OVERHEAD
    drawn = draw_sequences(np.array(distances), num_steps, np.random.default_rng(seed))
    assert drawn.inputs.shape == (len(distances), num_steps)
    for row, distance, answer in zip(drawn.inputs, distances, drawn.answers, strict=True):
        words = [WORDS[token_id] for token_id in row]
        assert words[0] == "<|endoftext|>"
        assert words[-1] == "recall"
        assert words.count(MARK) == 1
        key = words.index(MARK) + 1
        assert num_steps - key == distance
        assert words[key] == WORDS[answer]
        assert WORDS[answer] in KEYS
        assert {"recall", "<|endoftext|>"}.isdisjoint(words[1:-1])


def test_no_other_word_tells_the_answer():
    """The words around the key are keys as often as chance has it, and not this one more often."""
    drawn = draw_sequences(np.full(4000, 6), 12, np.random.default_rng(3))
    others = np.delete(drawn.inputs[:, 1:-1], [12 - 6 - 2, 12 - 6 - 1], axis=1)
    assert (others != MARK_ID).all()
    same = np.mean(others == drawn.answers[:, np.newaxis])
    assert same == pytest.approx(1 / (MARK_ID - FIRST_KEY), abs=0.004)
    assert np.bincount(drawn.answers, minlength=FIRST_FILLER)[1:].min() > 4000 * CHANCE * 0.7


def test_a_sequence_is_shown_as_words():
    drawn = draw_sequences(np.array([2]), 4, np.random.default_rng(0))
    city = WORDS[drawn.answers[0]]
    assert drawn.as_text(0) == f"remember {city} recall → {city}"


def test_a_cell_learns_short_distances_and_goes_on_to_longer_ones():
    recipe = RecallRecipe(
        num_updates=150, hidden_size=32, max_distance=6, mastered=0.5, learning_rate=0.01
    )
    trainer, seen = RecallTrainer("gru", recipe), []
    tests = draw_sequences(np.full(200, 4), 8, np.random.default_rng(7))
    assert trainer.accuracy(tests) < 3 * CHANCE
    status = trainer.train(seen.append)
    assert trainer.accuracy(tests) > 0.5
    assert (seen[0].distance, seen[-1], status.update) == (4, status, 150)
    assert status.distance == 6
    assert "update 150 · up to 6 steps" in status.line()
