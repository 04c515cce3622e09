"""Which of two networks an engine uses, and that the other engines hear of it."""

import numpy as np
import pytest
from fake_runtime import FakeRuntime
from tiny_bundle import tiny_bundle

from model.bundle.load import load_bundle
from model.runtime.litert_runtime import LiteRTRuntime
from service.busy_board import BusyBoard
from service.engine import main
from service.engine.lone_runtime import MOST_LONE_ROWS, LoneRuntime
from service.settings import Settings

#: Every method that computes, given a runtime and a number of rows.
CALLS = {
    "step": lambda r, rows: r.step(np.ones(rows, np.int32), r.initial_state(rows)),
    "prefill": lambda r, rows: r.prefill(np.ones((rows, 3), np.int32), r.initial_state(rows)),
    "score": lambda r, rows: r.score(np.ones((rows, 3), np.int32), r.initial_state(rows)),
    "logits": lambda r, rows: r.logits(r.initial_state(rows)),
}


class Recorded(FakeRuntime):
    """Remembers which method was called last."""

    def __init__(self):
        super().__init__()
        self.last = None

    def step(self, token_ids, state):
        self.last = "step"
        return super().step(token_ids, state)

    def prefill(self, token_ids, state):
        self.last = "prefill"
        return super().prefill(token_ids, state)

    def score(self, token_ids, state):
        self.last = "score"
        return super().score(token_ids, state)

    def logits(self, state):
        self.last = "logits"
        return super().logits(state)


@pytest.fixture
def scene():
    board = BusyBoard()
    usual, lone = Recorded(), Recorded()
    return LoneRuntime(usual, lone, board.take_seat()), usual, lone, board.take_seat()


@pytest.mark.parametrize("call", CALLS)
def test_few_rows_use_all_cores_while_nobody_else_computes(scene, call):
    runtime, usual, lone, _ = scene
    CALLS[call](runtime, MOST_LONE_ROWS)
    assert (usual.last, lone.last) == (None, call)


@pytest.mark.parametrize("call", CALLS)
def test_while_another_engine_computes_this_one_keeps_to_its_core(scene, call):
    runtime, usual, lone, other = scene
    other.note()
    CALLS[call](runtime, 1)
    assert (usual.last, lone.last) == (call, None)


@pytest.mark.parametrize("call", CALLS)
def test_many_rows_are_for_the_usual_network(scene, call):
    runtime, usual, lone, _ = scene
    CALLS[call](runtime, MOST_LONE_ROWS + 1)
    assert (usual.last, lone.last) == (call, None)


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("rows", [1, MOST_LONE_ROWS + 1])
def test_others_hear_that_this_one_computes(scene, call, rows):
    runtime, _, _, other = scene
    assert other.alone()
    CALLS[call](runtime, rows)
    assert not other.alone()


@pytest.mark.parametrize("call", CALLS)
@pytest.mark.parametrize("rows", [1, MOST_LONE_ROWS + 1])
def test_results_are_those_of_the_network(scene, call, rows):
    runtime = scene[0]
    found, expected = CALLS[call](runtime, rows), CALLS[call](FakeRuntime(), rows)
    if not isinstance(found, tuple):
        found, expected = (found,), (expected,)
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_array_equal(one, other)
    assert runtime.config == FakeRuntime().config


def test_a_small_network_is_held_once_unless_more_threads_are_asked_for(monkeypatch):
    bundle, seat = load_bundle(tiny_bundle()), BusyBoard().take_seat()
    monkeypatch.setattr("service.settings.usable_cores", lambda: 2)
    assert isinstance(main._load(bundle, Settings(), seat), LiteRTRuntime)
    assert isinstance(main._load(bundle, Settings(engine_threads_alone=2), seat), LoneRuntime)
    monkeypatch.setattr(main, "LEAST_LONE_WEIGHTS", bundle.config.num_weights())
    assert isinstance(main._load(bundle, Settings(), seat), LoneRuntime)
    assert isinstance(main._load(bundle, Settings(engine_threads_alone=1), seat), LiteRTRuntime)
