"""Streams and windows: every token read once per epoch, states reset where documents begin."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.errors import TrainingError
from training.batches import StreamBatches, evaluation_rows, validation_rows

END_OF_TEXT = 0


def numbered_ids(num_tokens: int) -> np.ndarray:
    """Token ids that tell their own position; only the first is an end of text."""
    return np.arange(num_tokens, dtype=np.uint32)


sizes = st.tuples(st.integers(1, 5), st.integers(1, 7), st.integers(0, 60), st.integers(0, 99))


@given(sizes)
def test_an_epoch_reads_each_token_at_most_once_and_misses_less_than_a_window_per_stream(sizes):
    batch_size, window, more, seed = sizes
    num_tokens = batch_size * window + 1 + more
    batches = StreamBatches(numbered_ids(num_tokens), batch_size, window, END_OF_TEXT, seed)
    read = [batches.read(step).inputs for step in range(batches.windows_per_epoch)]
    tokens = np.concatenate([piece.ravel() for piece in read])
    assert len(set(tokens.tolist())) == len(tokens)
    assert num_tokens - len(tokens) < batch_size * (window + 1)


@given(sizes)
def test_targets_follow_inputs_and_windows_follow_each_other(sizes):
    batch_size, window, more, seed = sizes
    num_tokens = batch_size * window + 1 + more
    batches = StreamBatches(numbered_ids(num_tokens), batch_size, window, END_OF_TEXT, seed)
    before = None
    for step in range(2 * batches.windows_per_epoch):
        piece = batches.read(step)
        assert np.array_equal(piece.targets, (piece.inputs + 1) % num_tokens)
        if before is not None and not piece.starts_epoch:
            assert np.array_equal(piece.inputs[:, 0], before.targets[:, -1])
        before = piece


def test_states_are_reset_before_each_document_and_where_an_epoch_begins():
    ids = np.tile(np.array([END_OF_TEXT, 1, 2, 3, 4], np.uint16), 20)
    batches = StreamBatches(ids, 2, 10, END_OF_TEXT, 3)
    for step in range(2 * batches.windows_per_epoch):
        piece = batches.read(step)
        assert piece.reset[piece.inputs == END_OF_TEXT].all()
        assert not piece.reset[:, 1:][piece.inputs[:, 1:] != END_OF_TEXT].any()
        assert piece.reset[:, 0].all() or not piece.starts_epoch
        assert piece.starts_epoch == (step % batches.windows_per_epoch == 0)


@pytest.mark.parametrize(("window", "tokens"), [(16, 1_024), (128, 1_024), (512, 8 * 512)])
def test_now_and_then_a_stream_starts_from_zero_although_its_text_goes_on(window, tokens):
    batches = StreamBatches(numbered_ids(64 * 40_000), 64, window, END_OF_TEXT, 3)
    resets = np.stack([batches.read(step).reset[:, 0] for step in range(1, 78)])
    assert resets.mean() == pytest.approx(window / tokens, rel=0.3)
    assert (resets.sum(axis=1) < 64).all()
    assert np.array_equal(batches.read(7).reset, batches.read(7).reset)


def test_a_window_depends_on_its_step_and_the_seed_alone():
    ids = numbered_ids(1000)
    first = StreamBatches(ids, 4, 8, END_OF_TEXT, 7)
    second = StreamBatches(ids, 4, 8, END_OF_TEXT, 7)
    for step in (70, 3, 31):
        assert np.array_equal(first.read(step).inputs, second.read(step).inputs)


def test_epochs_are_cut_differently():
    batches = StreamBatches(numbered_ids(1000), 4, 8, END_OF_TEXT, 7)
    starts = [batches.read(epoch * batches.windows_per_epoch).inputs[0, 0] for epoch in range(6)]
    assert len(set(starts)) > 1


def test_reading_does_not_change_the_ids():
    ids = numbered_ids(100)
    ids.flags.writeable = False
    StreamBatches(ids, 2, 5, END_OF_TEXT, 0).read(0)


def test_a_corpus_that_is_too_small_is_refused_with_the_sizes():
    with pytest.raises(
        TrainingError, match=r"40 training tokens.*batch size 4 x window 10.*at least 41"
    ):
        StreamBatches(numbered_ids(40), 4, 10, END_OF_TEXT, 0)


@given(st.integers(1, 10**6), st.integers(1, 5000), st.integers(1, 64))
def test_rows_for_scoring_are_long_enough_and_not_too_many(num_tokens, row_tokens, max_rows):
    rows = evaluation_rows(num_tokens, row_tokens, max_rows)
    assert 1 <= rows <= max_rows
    assert rows == 1 or num_tokens // rows >= row_tokens


@given(st.integers(2, 3_000), st.integers(1, 3_000), st.integers(1, 70))
def test_validation_rows_lie_all_over_the_text(num_tokens, max_tokens, window):
    rows, row_window = validation_rows(numbered_ids(num_tokens), max_tokens, window)
    num_rows, row_tokens = rows.shape[0], rows.shape[1] - 1
    assert row_window <= window
    assert row_tokens % row_window == 0
    assert num_rows * row_tokens <= min(max_tokens, num_tokens - 1)
    assert (np.diff(rows, axis=1) == 1).all()
    assert rows[0, 0] == 0
    if num_rows > 1:
        assert rows[-1, -1] == num_tokens - 1
        gaps = np.diff(rows[:, 0])
        assert gaps.max() - gaps.min() <= 1


def test_rows_that_hold_the_whole_text_hold_every_token_once():
    rows, _ = validation_rows(numbered_ids(1_024 + 1), 1_024, 64)
    assert sorted(rows[:, 1:].ravel()) == list(range(1, 1_025))
