"""Fibres keep nobody waiting; what waits does the same in a fibre as in a thread."""

import queue
import selectors
import socket
import threading
import time
from contextvars import ContextVar

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.request import Finished
from service.engine_client import JobStream
from service.fibres import Fibres, FibreSocket, Outcome, new_inbox, pause


class Loop:
    """A thread's poller with fibres, which note what happens in ``noted``."""

    def __init__(self) -> None:
        self.poller = selectors.DefaultSelector()
        self.fibres = Fibres(self.poller)
        self.noted: list[object] = []
        self.ended: list[Outcome] = []

    def start(self, function) -> None:
        self.fibres.start(function, self.ended.append)

    def turn(self, seconds: float = 5.0) -> None:
        for key, _ in self.poller.select(self.fibres.seconds_to_next(seconds)):
            key.data(key.fileobj)
        self.fibres.run_due()

    def run_until(self, num_ended: int) -> None:
        deadline = time.monotonic() + 20
        while len(self.ended) < num_ended:
            assert time.monotonic() < deadline
            self.turn(0.5)


@pytest.fixture
def loop():
    loop = Loop()
    yield loop
    loop.poller.close()


@pytest.fixture
def ends():
    ours, theirs = socket.socketpair()
    ours = FibreSocket(ours, 20)
    theirs.settimeout(10)
    yield ours, theirs
    ours.close()
    theirs.close()


def test_who_waits_for_nothing_is_done_at_once(loop):
    loop.start(lambda: 7)
    assert [done.result() for done in loop.ended] == [7]


def test_an_error_is_handed_on_and_the_next_one_runs(loop):
    loop.start(lambda: 1 // 0)
    loop.start(lambda: "fine")
    assert isinstance(loop.ended[0].exception(), ZeroDivisionError)
    assert loop.ended[1].result() == "fine"


def test_fibres_have_contexts_of_their_own(loop):
    variable: ContextVar[str] = ContextVar("variable", default="none")

    def serve(name: str) -> None:
        assert variable.get() == "none"
        variable.set(name)
        pause(0.001)
        loop.noted.append((name, variable.get()))

    for name in ("a", "b", "c"):
        loop.start(lambda name=name: serve(name))
    loop.run_until(3)
    assert sorted(loop.noted) == [("a", "a"), ("b", "b"), ("c", "c")]
    assert variable.get() == "none"


def test_pauses_are_kept_and_end_in_the_order_of_their_times(loop):
    start = time.monotonic()

    def serve(seconds: float) -> None:
        pause(seconds)
        assert time.monotonic() - start >= seconds
        loop.noted.append(seconds)

    for seconds in (0.06, 0.02, 0.04, 0.02):
        loop.start(lambda seconds=seconds: serve(seconds))
    assert loop.fibres.seconds_to_next(5.0) <= 0.02
    loop.run_until(4)
    assert loop.noted == [0.02, 0.02, 0.04, 0.06]
    assert loop.fibres.seconds_to_next(5.0) == 5.0


def test_a_pause_is_not_cut_short_by_what_comes_meanwhile(loop):
    inboxes = []

    def serve() -> None:
        inboxes.append(new_inbox())
        start = time.monotonic()
        pause(0.05)
        loop.noted.append(time.monotonic() - start)
        loop.noted.append(inboxes[0].get(True, None))

    loop.start(serve)
    inboxes[0].put("early")
    loop.run_until(1)
    assert loop.noted[0] >= 0.05
    assert loop.noted[1] == "early"


def test_an_inbox_keeps_order_and_waits_for_another_thread(loop):
    inboxes = []

    def serve() -> None:
        inboxes.append(new_inbox())
        loop.noted.extend(inboxes[0].get(True, 10) for _ in range(1000))

    loop.start(serve)

    def fill() -> None:
        for number in range(1000):
            inboxes[0].put(number)

    filler = threading.Thread(target=fill)
    filler.start()
    loop.run_until(1)
    filler.join()
    assert loop.noted == list(range(1000))


@pytest.mark.parametrize("in_fibre", [False, True])
def test_an_empty_inbox_says_so_in_its_time(loop, in_fibre):
    def serve() -> float:
        inbox = new_inbox()
        with pytest.raises(queue.Empty):
            inbox.get(False, None)
        start = time.monotonic()
        with pytest.raises(queue.Empty):
            inbox.get(True, 0.03)
        return time.monotonic() - start

    if in_fibre:
        loop.start(serve)
        loop.run_until(1)
        waited = loop.ended[0].result()
    else:
        waited = serve()
    assert 0.03 <= waited < 5


def test_a_wait_that_is_over_in_time_leaves_nothing_behind(loop):
    """Its deadline must not end the next one early."""
    inboxes = []

    def serve() -> None:
        inboxes.append(new_inbox())
        loop.noted.append(inboxes[0].get(True, 0.03))
        start = time.monotonic()
        pause(0.08)
        loop.noted.append(time.monotonic() - start >= 0.08)

    loop.start(serve)
    inboxes[0].put("item")
    loop.turn()
    assert loop.fibres.seconds_to_next(5.0) > 0.05  # nor wake anybody
    loop.run_until(1)
    assert loop.noted == ["item", True]


@settings(max_examples=30, deadline=None)
@given(
    st.lists(
        st.lists(st.floats(0, 0.004), min_size=1, max_size=4),
        min_size=1,
        max_size=8,
    )
)
def test_every_item_arrives_once_whenever_it_is_put(delays):
    """Many fibres, each with a thread that puts items after random times: none is lost."""
    loop = Loop()
    received: dict[int, list[int]] = {}
    threads = []

    def serve(number: int) -> None:
        inbox = new_inbox()

        def fill() -> None:
            for item, delay in enumerate(delays[number]):
                time.sleep(delay)
                inbox.put(item)

        threads.append(threading.Thread(target=fill))
        threads[-1].start()
        received[number] = []
        while len(received[number]) < len(delays[number]):
            try:
                received[number].append(inbox.get(True, 0.002))
            except queue.Empty:
                pause(0.001)

    for number in range(len(delays)):
        loop.start(lambda number=number: serve(number))
    loop.run_until(len(delays))
    for thread in threads:
        thread.join()
    loop.poller.close()
    assert received == {number: list(range(len(items))) for number, items in enumerate(delays)}
    assert all(done.exception() is None for done in loop.ended)


def test_a_client_that_reads_slowly_keeps_nobody_waiting(loop, ends):
    ours, theirs = ends
    sent = bytes(range(256)) * 40_000

    def send() -> None:
        ours.sendall(sent)
        ours.shutdown(socket.SHUT_WR)

    loop.start(send)
    assert not loop.ended
    loop.start(lambda: "meanwhile")
    assert loop.ended[0].result() == "meanwhile"
    received: list[bytes] = []

    def read() -> None:
        while part := theirs.recv(65536):
            received.append(part)

    reader = threading.Thread(target=read)
    reader.start()
    loop.run_until(2)
    reader.join()
    assert b"".join(received) == sent


def test_a_client_that_hangs_up_while_it_is_written_to_ends_the_wait(loop, ends):
    ours, theirs = ends
    loop.start(lambda: ours.sendall(bytes(10_000_000)))
    assert not loop.ended
    theirs.close()
    loop.run_until(1)
    assert isinstance(loop.ended[0].exception(), OSError)
    assert len(loop.poller.get_map()) == 1  # what wakes fibres up


@pytest.mark.parametrize("what", ["sends", "takes"])
def test_a_client_that_stalls_is_given_up(loop, what):
    ours, theirs = socket.socketpair()
    ours = FibreSocket(ours, 0.05)
    loop.start(lambda: ours.recv(1) if what == "sends" else ours.sendall(bytes(10_000_000)))
    loop.run_until(1)
    assert isinstance(loop.ended[0].exception(), ConnectionResetError)
    assert len(loop.poller.get_map()) == 1
    ours.close()
    theirs.close()


def test_one_that_takes_a_little_now_and_then_is_not(loop):
    ours, theirs = socket.socketpair()
    ours = FibreSocket(ours, 0.2)
    loop.start(lambda: ours.sendall(bytes(2_000_000)))
    theirs.settimeout(10)
    received = 0
    while received < 2_000_000:
        received += len(theirs.recv(150_000))
        loop.turn(0.04)
        pause(0.04)
    loop.run_until(1)
    assert loop.ended[0].exception() is None
    ours.close()
    theirs.close()


def test_reading_waits_for_what_comes_later(loop, ends):
    ours, theirs = ends
    loop.start(lambda: ours.recv(100))
    assert not loop.ended
    theirs.sendall(b"late")
    loop.run_until(1)
    assert loop.ended[0].result() == b"late"


def test_asked_not_to_wait_reading_does_not(loop, ends):
    ours, _ = ends

    def look() -> bool:
        with pytest.raises(BlockingIOError):
            ours.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT)
        return True

    loop.start(look)
    assert loop.ended[0].result()


def test_for_a_thread_it_is_a_socket_as_any_other(ends):
    ours, theirs = ends
    writer = threading.Thread(target=lambda: ours.sendall(bytes(5_000_000)))
    writer.start()
    num_received = 0
    while num_received < 5_000_000:
        num_received += len(theirs.recv(65536))
    writer.join()
    theirs.sendall(b"back")
    assert ours.recv(10) == b"back"


class Silent:
    def grow(self, job_id, growth):
        pass

    def cancel(self, job_ids):
        pass

    def abandon(self, job_ids):
        pass


def test_a_job_stream_is_read_in_a_fibre(loop):
    streams = []

    def serve() -> None:
        stream = JobStream(Silent(), ["a", "b"])
        streams.append(stream)
        loop.noted.append(stream.next_events(0.01))
        loop.noted.extend(event.job_id for event in stream)

    loop.start(serve)
    loop.turn()
    filler = threading.Thread(
        target=lambda: [streams[0].put([Finished(name, "length")]) for name in "ab"]
    )
    filler.start()
    loop.run_until(1)
    filler.join()
    assert loop.ended[0].exception() is None
    assert loop.noted == [[], "a", "b"]
