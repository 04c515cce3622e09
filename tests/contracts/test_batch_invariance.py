"""A row's result is the same bits whatever the batch, its order, its size and the prompt's cuts."""

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.config import ModelConfig
from model.runtime.litert_runtime import LiteRTRuntime

Weights = dict[str, np.ndarray]

MAX_ROWS, MAX_TOKENS = 70, 21


@pytest.fixture(scope="module", params=["int8", "float32"])
def runtime(
    request: pytest.FixtureRequest,
    config: ModelConfig,
    weights: Weights,
    open_runtime: Callable[..., LiteRTRuntime],
) -> LiteRTRuntime:
    return open_runtime(config, weights, quantise=request.param == "int8")


@pytest.fixture(scope="module")
def states(runtime: LiteRTRuntime) -> np.ndarray:
    """Rows of very unlike magnitude, so that one row's scale could show in another's result."""
    rng = np.random.default_rng(4)
    rows = rng.normal(size=(MAX_ROWS, runtime.config.state_size))
    rows *= rng.choice([0.0, 1e-6, 0.1, 0.5, 1.0], size=(MAX_ROWS, 1))
    return rows.astype(np.float32)


@pytest.fixture(scope="module")
def token_ids(runtime: LiteRTRuntime) -> np.ndarray:
    shape = (MAX_ROWS, MAX_TOKENS)
    return np.random.default_rng(5).integers(0, runtime.config.vocab_size, shape, np.int32)


@pytest.fixture(scope="module")
def alone(
    runtime: LiteRTRuntime, token_ids: np.ndarray, states: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Each row stepped by itself: logits [rows, time, vocab], states [rows, time + 1, state]."""
    config = runtime.config
    logits = np.empty((MAX_ROWS, MAX_TOKENS, config.vocab_size), np.float32)
    after = np.empty((MAX_ROWS, MAX_TOKENS + 1, config.state_size), np.float32)
    after[:, 0] = states
    for row in range(MAX_ROWS):
        for t in range(MAX_TOKENS):
            result = runtime.step(token_ids[row, t : t + 1], after[row, t : t + 1])
            logits[row, t], after[row, t + 1] = result[0][0], result[1][0]
    return logits, after


def choices(max_size: int) -> st.SearchStrategy[list[int]]:
    """Any rows, in any order, the same one several times too."""
    return st.lists(st.integers(0, MAX_ROWS - 1), min_size=1, max_size=max_size)


@settings(max_examples=25)
@given(rows=choices(MAX_ROWS), t=st.integers(0, MAX_TOKENS - 1))
def test_step_and_logits_of_any_rows(
    runtime: LiteRTRuntime,
    token_ids: np.ndarray,
    alone: tuple[np.ndarray, np.ndarray],
    rows: list[int],
    t: int,
) -> None:
    logits, after = alone
    result = runtime.step(token_ids[rows, t], after[rows, t])
    np.testing.assert_array_equal(result[0], logits[rows, t])
    np.testing.assert_array_equal(result[1], after[rows, t + 1])
    np.testing.assert_array_equal(runtime.logits(after[rows, t + 1]), logits[rows, t])


@settings(max_examples=25)
@given(
    rows=choices(24),
    cuts=st.lists(st.integers(0, MAX_TOKENS), min_size=2, max_size=6).map(sorted),
)
def test_prefill_of_any_rows_cut_anywhere(
    runtime: LiteRTRuntime,
    token_ids: np.ndarray,
    alone: tuple[np.ndarray, np.ndarray],
    rows: list[int],
    cuts: list[int],
) -> None:
    _, after = alone
    state = after[rows, cuts[0]]
    for start, stop in itertools.pairwise(cuts):
        state = runtime.prefill(token_ids[rows, start:stop], state)
        np.testing.assert_array_equal(state, after[rows, stop])


@settings(max_examples=25)
@given(
    rows=choices(24),
    cuts=st.lists(st.integers(0, MAX_TOKENS), min_size=2, max_size=6).map(sorted),
)
def test_score_of_any_rows_cut_anywhere(
    runtime: LiteRTRuntime,
    token_ids: np.ndarray,
    alone: tuple[np.ndarray, np.ndarray],
    rows: list[int],
    cuts: list[int],
) -> None:
    logits, after = alone
    state = after[rows, cuts[0]]
    for start, stop in itertools.pairwise(cuts):
        scored, state = runtime.score(token_ids[rows, start:stop], state)
        np.testing.assert_array_equal(scored, logits[rows, start:stop])
        np.testing.assert_array_equal(state, after[rows, stop])


@pytest.mark.parametrize("num_rows", [1, 2, 3, 4, 5, 8, 13, 16, 17, 33, 64, MAX_ROWS])
def test_every_kind_of_batch_size(
    runtime: LiteRTRuntime,
    token_ids: np.ndarray,
    alone: tuple[np.ndarray, np.ndarray],
    num_rows: int,
) -> None:
    logits, after = alone
    result = runtime.step(token_ids[:num_rows, 0], after[:num_rows, 0])
    np.testing.assert_array_equal(result[0], logits[:num_rows, 0])
    np.testing.assert_array_equal(result[1], after[:num_rows, 1])
    states = runtime.prefill(token_ids[:num_rows], after[:num_rows, 0])
    np.testing.assert_array_equal(states, after[:num_rows, -1])


def test_what_stands_in_the_other_rows_does_not_matter(
    runtime: LiteRTRuntime, token_ids: np.ndarray, alone: tuple[np.ndarray, np.ndarray]
) -> None:
    logits, after = alone
    for strange in (np.nan, np.inf, 3e38, 0.0):
        state = np.full((8, runtime.config.state_size), strange, np.float32)
        state[5] = after[5, 3]
        result = runtime.step(token_ids[:8, 3], state)
        np.testing.assert_array_equal(result[0][5], logits[5, 3])
        np.testing.assert_array_equal(result[1][5], after[5, 4])


def test_rows_in_a_batch_that_is_not_full(
    config: ModelConfig, weights: Weights, open_runtime: Callable[..., LiteRTRuntime]
) -> None:
    """A file without batch size 1, so that every processor has to leave rows idle."""
    sizes = {
        "step_batches": (4, 16),
        "logits_batches": (4,),
        "prefill_chunks": ((4, 1), (4, 5)),
        "score_chunks": ((4, 3),),
    }
    runtime = open_runtime(config, weights, quantise=True, **sizes)
    rng = np.random.default_rng(6)
    state = rng.normal(size=(16, config.state_size)).astype(np.float32)
    ids = rng.integers(0, config.vocab_size, (16, 7), np.int32)
    logits, after = runtime.step(ids[:, 0], state)
    read = runtime.prefill(ids, state)
    scored = runtime.score(ids, state)
    np.testing.assert_array_equal(scored[0][:, 0], logits)
    np.testing.assert_array_equal(scored[1], read)
    for num_rows in (1, 2, 3, 5, 7, 15):
        rows = slice(16 - num_rows, 16)
        result = runtime.step(ids[rows, 0], state[rows])
        np.testing.assert_array_equal(result[0], logits[rows])
        np.testing.assert_array_equal(result[1], after[rows])
        np.testing.assert_array_equal(runtime.logits(after[rows]), logits[rows])
        np.testing.assert_array_equal(runtime.prefill(ids[rows], state[rows]), read[rows])
        result = runtime.score(ids[rows], state[rows])
        np.testing.assert_array_equal(result[0], scored[0][rows])
        np.testing.assert_array_equal(result[1], read[rows])
