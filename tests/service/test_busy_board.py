"""Engines see whether others compute: across processes, and not for ever."""

import os
import time

import pytest

from service import busy_board
from service.busy_board import BusyBoard


@pytest.fixture
def clock(monkeypatch):
    """Monotonic seconds, as the board sees them: a list of one number, to be changed."""
    seconds = [1000.0]
    monkeypatch.setattr(busy_board.time, "monotonic", lambda: seconds[0])
    return seconds


def test_whoever_computes_by_itself_is_alone(clock):
    board = BusyBoard()
    first, second = board.take_seat(), board.take_seat()
    first.note()
    assert first.alone()
    assert not second.alone()
    second.note()
    assert not first.alone()


def test_who_has_stopped_is_forgotten_after_a_while_not_at_once(clock):
    board = BusyBoard()
    first, second = board.take_seat(), board.take_seat()
    second.note()
    clock[0] += 0.05
    assert not first.alone()
    clock[0] += 0.06
    assert first.alone()


def test_another_process_is_seen_even_after_its_end():
    board = BusyBoard()
    here, there = board.take_seat(), board.take_seat()
    assert here.alone()
    child = os.fork()
    if child == 0:
        there.note()
        os._exit(0)
    os.waitpid(child, 0)
    assert not here.alone()
    deadline = time.monotonic() + 10
    while not here.alone():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_more_engines_than_seats_do_not_fail(clock):
    board = BusyBoard()
    seats = [board.take_seat() for _ in range(200)]
    seats[150].note()
    assert not seats[0].alone()
    assert seats[150].alone()
