"""Few are worked on at a time; whoever waits or takes long does not count; all have their turn."""

import threading

import pytest

from service import crew
from service.crew import Crew


def never(request):
    return False


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(crew, "time", clock)
    return clock


def test_all_have_their_turn_in_order_and_few_at_a_time(clock):
    started = []
    few = Crew(started.append, never, never)
    for number in range(50):
        few.add(number)
    at_once = len(started)
    assert 1 <= at_once < 10
    for number in range(50):
        assert started == list(range(min(50, number + at_once)))
        few.leave(number)
        few.leave(number)  # it waited, now it is done
    assert started == list(range(50))


def test_who_hangs_up_while_waiting_has_no_turn(clock):
    started, gone, asked = [], set(), []

    def drop_if_gone(number):
        asked.append(number)
        return number in gone

    few = Crew(started.append, drop_if_gone, never)
    for number in range(50):
        few.add(number)
    at_once = len(started)
    few.leave(0)
    assert asked == []  # nobody has waited for long
    clock.now += 0.4
    gone.update(range(at_once + 1, 40))
    few.leave(1)
    assert started == [*range(at_once + 1), 40]
    assert asked == [*range(at_once + 1, 41)]


def test_for_whom_there_is_no_room_has_no_turn(clock):
    started, refused, full = [], [], False

    def refuse_if_full(number):
        if full:
            refused.append(number)
        return full

    few = Crew(started.append, never, refuse_if_full)
    for number in range(10):
        few.add(number)
    at_once = len(started)
    assert refused == []
    full = True
    few.leave(0)
    assert refused == [*range(at_once, 10)]
    full = False
    few.add(10)
    assert started == [*range(at_once), 10]


def test_who_takes_long_does_not_count(clock):
    started = []
    few = Crew(started.append, never, never)
    for number in range(50):
        few.add(number)
    at_once = len(started)
    few.go_on()
    assert len(started) == at_once
    clock.now += 60.0
    few.go_on()
    assert len(started) == 2 * at_once
    few.leave(0)  # long forgotten
    assert len(started) == 2 * at_once


def test_a_thread_leaves_once_for_each_request():
    calls = []
    crew.leave()
    crew.join(lambda: calls.append("first"))
    other = threading.Thread(target=crew.leave)
    other.start()
    other.join()
    assert calls == []
    crew.leave()
    crew.leave()
    crew.join(lambda: calls.append("second"))
    crew.leave()
    assert calls == ["first", "second"]
