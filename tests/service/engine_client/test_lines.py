"""Engine clients in a thread that does other things, too."""

import os
import selectors
import threading
import time

import pytest
from fake_engine import fake_engine

from service.engine.request import Job
from service.engine_client import EngineClient
from service.engine_client.lines import Lines

PATIENCE_SECONDS = 30.0


class Line:
    """Notes what it is told; its file can be written to by ``stir``."""

    def __init__(self, breaks=False):
        self.file = os.eventfd(0, os.EFD_NONBLOCK)
        self.breaks = breaks
        self.num_turns = 0
        self.num_stirs = 0
        self.heard = 0
        self.wanted = float("inf")
        self.ended_in = None

    def files(self):
        yield self.file, self._hear

    def _hear(self, _):
        self.heard += os.eventfd_read(self.file)

    def call(self):
        os.eventfd_write(self.file, 1)

    def stir(self):
        self.num_stirs += 1

    def turn(self, now):
        assert now <= time.monotonic()
        self.num_turns += 1
        if self.breaks:
            raise RuntimeError("broken")

    def next_turn(self):
        return self.wanted

    def end(self):
        self.ended_in = threading.get_ident()


@pytest.fixture
def poller():
    with selectors.DefaultSelector() as poller:
        yield poller


def run(poller, lines, seconds=0.0):
    for key, _ in poller.select(lines.seconds_to_next(seconds)):
        key.data(key.fileobj)
    lines.turn()


def test_they_begin_when_there_is_a_poller_and_end_in_its_thread(poller):
    lines, line = Lines(), Line()
    lines.add(line)
    assert line.num_turns == 0 and not lines.is_here
    lines.attach(poller)
    assert line.num_turns == 1 and lines.is_here
    line.call()
    run(poller, lines)
    assert (line.num_turns, line.heard) == (2, 1)
    other = threading.Thread(target=lines.remove, args=(line,))
    other.start()
    run(poller, lines, PATIENCE_SECONDS)  # the call ends the wait
    other.join()
    assert line.ended_in == threading.get_ident()
    line.call()
    run(poller, lines)
    assert (line.num_turns, line.heard) == (2, 1)


def test_it_wakes_up_for_whoever_is_due_first(poller):
    lines, late, soon = Lines(), Line(), Line()
    lines.attach(poller)
    assert lines.seconds_to_next(7.0) == 7.0
    for line in (late, soon):
        lines.add(line)
    assert lines.seconds_to_next(7.0) == 0.0
    lines.turn()
    late.wanted, soon.wanted = time.monotonic() + 5.0, time.monotonic() + 3.0
    assert 2.0 < lines.seconds_to_next(7.0) <= 3.0
    assert lines.seconds_to_next(1.0) == 1.0
    soon.wanted = 0.0
    assert lines.seconds_to_next(7.0) == 0.0


def test_one_that_breaks_down_is_hung_up_and_the_others_go_on(poller, caplog):
    lines, broken, sound = Lines(), Line(breaks=True), Line()
    lines.add(broken)
    lines.add(sound)
    lines.attach(poller)
    assert broken.ended_in is not None
    assert "broke down" in caplog.text
    lines.turn()
    assert (broken.num_turns, sound.num_turns) == (1, 2)


def test_who_waits_for_a_lock_here_keeps_them_going(poller):
    lines, line, lock = Lines(), Line(), threading.Lock()
    lines.attach(poller)

    def hold():
        with lock:
            held.set()
            lines.add(line)
            while not line.num_turns:  # as who waits for an engine does
                time.sleep(0.001)

    held = threading.Event()
    holder = threading.Thread(target=hold)
    holder.start()
    held.wait()
    lines.acquire(lock)
    lines.turn_unpolled()
    assert line.num_turns >= 2
    assert line.num_stirs
    lock.release()
    holder.join()


def test_clients_share_a_thread_with_other_work(poller, tmp_path):
    lines = Lines()
    lines.attach(poller)
    addresses = [f"ipc://{tmp_path}/engine-{number}" for number in range(2)]
    with fake_engine(addresses[0]), fake_engine(addresses[1]):
        clients = [EngineClient([address], lines=lines) for address in addresses]
        num_threads = threading.active_count()
        for client in clients:
            assert client.wait_ready(PATIENCE_SECONDS)
        streams = [client.submit([Job(job_id="a", max_tokens=3)]) for client in clients]
        events = [[], []]
        deadline = time.monotonic() + PATIENCE_SECONDS
        while not all(stream.done for stream in streams):
            assert time.monotonic() < deadline
            run(poller, lines, 1.0)
            for stream, got in zip(streams, events, strict=True):
                got.extend(stream.next_events(0.0))
        assert events[0] and [type(event) for event in events[0]] == [
            type(event) for event in events[1]
        ]
        assert threading.active_count() == num_threads
        clients.pop().close()
        closing = threading.Thread(target=clients.pop().close)
        closing.start()
        while closing.is_alive():
            run(poller, lines, 0.01)


def test_a_thread_of_its_own_ends_with_its_client(tmp_path):
    address = f"ipc://{tmp_path}/engine"
    before = {thread.ident for thread in threading.enumerate()}
    with fake_engine(address):
        client = EngineClient([address])
        assert client.wait_ready(PATIENCE_SECONDS)
        (own,) = [t for t in threading.enumerate() if t.name == "engine-client"]
        assert own.ident not in before
        client.close()
        own.join(PATIENCE_SECONDS)
        assert not own.is_alive()
