"""The client against real engine processes: killed, stopped, restarted, full, hung, draining."""

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace

import pytest
import zmq
from fake_engine import ROOT, fake_engine

from model.sampling import SamplingParams
from service.engine.errors import (
    EngineUnavailableError,
    OverloadedError,
    ShuttingDownError,
)
from service.engine.request import Finished, Job, Sampled, Started
from service.engine.wire import (
    VERSION,
    Hello,
    Refused,
    Submit,
    Welcome,
    decode_to_engine,
    encode,
)
from service.engine_client import EngineClient

SCRIPT = [5, 6, 6, 7, 0]
LONG = {"max_tokens": 10**6, "ignore_eos": True}
PATIENCE_SECONDS = 60.0


@pytest.fixture
def address(tmp_path):
    return f"ipc://{tmp_path}/engine"


@contextlib.contextmanager
def client_of(*addresses, **options):
    client = EngineClient(addresses, **options)
    try:
        yield client
    finally:
        client.close()


@contextlib.contextmanager
def engine_and_client(address, client_options=None, **options):
    with (
        fake_engine(address, **options) as engine,
        client_of(address, **(client_options or {})) as client,
    ):
        assert client.wait_ready(PATIENCE_SECONDS)
        yield engine, client


def wait_until(condition):
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline, "it does not come about"
        time.sleep(0.01)


def tokens_of(events):
    return [t for event in events if isinstance(event, Sampled) for t in event.token_ids]


def read_until_tokens(stream):
    events = []
    while not tokens_of(events):
        events += stream.next_events(PATIENCE_SECONDS)
    return events


def test_streams_of_many_threads_at_once(address):
    with engine_and_client(address, max_queue=100) as (_, client):
        answers = {}

        def ask(number):
            jobs = [Job(job_id=f"{number}-{j}", max_tokens=50) for j in range(2)]
            answers[number] = list(client.submit(jobs))

        threads = [threading.Thread(target=ask, args=(number,)) for number in range(30)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_SECONDS)
        assert sorted(answers) == list(range(30))
        for number, events in answers.items():
            for j in range(2):
                mine = [event for event in events if event.job_id == f"{number}-{j}"]
                assert isinstance(mine[0], Started)
                assert tokens_of(mine) == SCRIPT
                assert isinstance(mine[-1], Finished)


def test_status_and_room(address):
    with engine_and_client(address, max_running=2, max_queue=1) as (_, client):
        client.check_room(3)
        with pytest.raises(OverloadedError):
            client.check_room(4)
        (status,) = client.status()
        assert (status.ready, status.max_running, status.max_queue) == (True, 2, 1)
        stream = client.submit([Job(job_id="a", **LONG), Job(job_id="b", **LONG)])
        read_until_tokens(stream)
        wait_until(lambda: client.status()[0].running == 2)
        stream.close()
        wait_until(lambda: client.status()[0].running == 0)
        assert client.status()[0].cancelled_total == 2
        assert client.status()[0].generation_tokens_total > 0


def test_a_full_queue_refuses_at_once_with_a_wait(address):
    with engine_and_client(address, max_running=1, max_queue=1) as (_, client):
        running = client.submit([Job(job_id="a", **LONG), Job(job_id="b", **LONG)])
        read_until_tokens(running)
        refused = client.submit([Job(job_id="c")])
        with pytest.raises(OverloadedError, match="queue is full") as info:
            refused.next_events(PATIENCE_SECONDS)
        assert info.value.retry_after_seconds > 0
        wait_until(lambda: client.status()[0].waiting == 1)
        with pytest.raises(OverloadedError):
            client.check_room(1)
        running.close()
        wait_until(lambda: client.status()[0].running == 0)
        assert tokens_of(client.submit([Job(job_id="c")])) == SCRIPT


def test_cancelled_jobs_tell_their_end(address):
    with engine_and_client(address) as (_, client):
        stream = client.submit([Job(job_id="a", **LONG)])
        read_until_tokens(stream)
        stream.cancel()
        assert list(stream)[-1].finish_reason == "cancelled"


def test_a_killed_engine_fails_its_jobs_at_once_and_the_next_one_serves(address):
    with engine_and_client(address) as (engine, client):
        streams = [client.submit([Job(job_id=str(n), **LONG)]) for n in range(8)]
        read_until_tokens(streams[0])
        engine.kill()
        for stream in streams:
            with pytest.raises(EngineUnavailableError):
                while True:
                    stream.next_events(PATIENCE_SECONDS)
        assert client.status() == ()
        assert not client.ready
        with pytest.raises(EngineUnavailableError, match="no engine"):
            client.submit([Job(job_id="a")])
        with pytest.raises(EngineUnavailableError):
            client.check_room(1)
        with fake_engine(address):
            assert client.wait_ready(PATIENCE_SECONDS)
            assert tokens_of(client.submit([Job(job_id="a")])) == SCRIPT


def test_a_hung_engine_is_given_up_and_taken_back(address):
    options = {"heartbeat_timeout_seconds": 1.0}
    with engine_and_client(address, options) as (engine, client):
        stream = client.submit([Job(job_id="a", **LONG)])
        read_until_tokens(stream)
        os.kill(engine.pid, signal.SIGSTOP)
        with pytest.raises(EngineUnavailableError):
            while True:
                stream.next_events(PATIENCE_SECONDS)
        os.kill(engine.pid, signal.SIGCONT)
        assert client.wait_ready(PATIENCE_SECONDS)
        # The job it still ran was cancelled by the new hello.
        wait_until(lambda: client.status() and client.status()[0].running == 0)
        assert tokens_of(client.submit([Job(job_id="a")])) == SCRIPT


READS_ON_AFTER_A_PAUSE = """
import sys, time
from service.engine.request import Job
from service.engine_client import EngineClient
client = EngineClient([sys.argv[1]], heartbeat_timeout_seconds=1.0)
assert client.wait_ready(60)
stream = client.submit([Job(job_id="a", max_tokens=10**6, ignore_eos=True)])
stream.next_events(60)
print("started", flush=True)
sys.stdin.readline()
end = time.monotonic() + 2.0
while time.monotonic() < end:
    stream.next_events(60)
print("still there", flush=True)
client.close()
"""


def test_a_worker_that_was_stopped_itself_does_not_blame_the_engine(address):
    with (
        fake_engine(address),
        subprocess.Popen(
            [sys.executable, "-c", READS_ON_AFTER_A_PAUSE, address],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd=ROOT,
        ) as worker,
    ):
        assert worker.stdout.readline() == "started\n"
        worker.send_signal(signal.SIGSTOP)
        time.sleep(2.5)
        worker.send_signal(signal.SIGCONT)
        out, _ = worker.communicate("go on\n", timeout=PATIENCE_SECONDS)
        assert out == "still there\n"


def test_the_least_loaded_engine_is_asked(tmp_path):
    addresses = [f"ipc://{tmp_path}/engine-{number}" for number in range(2)]
    with fake_engine(addresses[0]), fake_engine(addresses[1]), client_of(*addresses) as client:
        wait_until(lambda: len(client.status()) == 2)
        streams = [client.submit([Job(job_id=str(n), **LONG)]) for n in range(6)]
        for stream in streams:
            read_until_tokens(stream)
        wait_until(lambda: [status.running for status in client.status()] == [3, 3])


@pytest.mark.parametrize("first", [0, 1])
def test_short_prompts_that_are_only_scored_keep_together(tmp_path, first):
    addresses = [f"ipc://{tmp_path}/engine-{number}" for number in range(2)]
    with (
        fake_engine(addresses[0], max_running=1, max_queue=4),
        fake_engine(addresses[1], max_running=1, max_queue=4),
        client_of(*addresses, first=first) as client,
    ):
        assert client.wait_ready(PATIENCE_SECONDS)

        def waiting():
            here, there = (client.status()[number].waiting for number in (first, 1 - first))
            return here, there

        long = [client.submit([Job(job_id=f"long-{n}", **LONG)]) for n in range(2)]
        wait_until(lambda: [status.running for status in client.status()] == [1, 1])
        briefs = [client.submit([Job(job_id=f"brief-{n}", max_tokens=0)]) for n in range(3)]
        wait_until(lambda: waiting() == (3, 0))
        other = client.submit([Job(job_id="other")])
        wait_until(lambda: waiting() == (3, 1))
        briefs += [client.submit([Job(job_id=f"full-{n}", max_tokens=0)]) for n in range(2)]
        wait_until(lambda: waiting() == (4, 2))  # the one is full
        # Of one request several side by side, where they are done sooner.
        for stream in (*long, *briefs, other):
            stream.close()
        wait_until(lambda: not any(s.running + s.waiting for s in client.status()))
        wait_until(lambda: client.has_room(10))
        both = client.submit([Job(job_id=f"long-{n}", **LONG) for n in range(2)])
        wait_until(lambda: [status.running for status in client.status()] == [1, 1])
        pair = client.submit([Job(job_id=f"pair-{n}", max_tokens=0) for n in range(2)])
        wait_until(lambda: waiting() == (1, 1))
        both.close()
        assert {event.job_id for event in pair if isinstance(event, Finished)} == {
            "pair-0",
            "pair-1",
        }


def test_engines_together_have_room_for_exactly_the_sum(tmp_path):
    addresses = [f"ipc://{tmp_path}/engine-{number}" for number in range(2)]
    with (
        fake_engine(addresses[0], max_running=2, max_queue=1),
        fake_engine(addresses[1], max_running=1, max_queue=3),
        client_of(*addresses) as client,
    ):
        assert client.wait_ready(PATIENCE_SECONDS)
        with pytest.raises(OverloadedError, match="0 sequences run or wait, of at most 7"):
            client.check_room(8)
        one = client.submit([Job(job_id="one", **LONG)])
        rest = client.submit([Job(job_id=str(n), **LONG) for n in range(6)])
        with pytest.raises(OverloadedError):
            client.check_room(1)
        with pytest.raises(OverloadedError, match=r"queue is full: 7 .* of at most 7"):
            client.submit([Job(job_id="more")]).next_events(PATIENCE_SECONDS)
        wait_until(lambda: [(s.running, s.waiting) for s in client.status()] == [(2, 1), (1, 3)])
        one.cancel()
        assert list(one)[-1].finish_reason == "cancelled"
        client.check_room(1)
        rest.close()
        wait_until(lambda: not any(s.running + s.waiting for s in client.status()))
        events = list(client.submit([Job(job_id=str(n)) for n in range(7)]))
        assert tokens_of(events) != SCRIPT
        assert sorted(tokens_of(events)) == sorted(SCRIPT * 7)


def test_a_request_over_two_engines_fails_with_one_and_leaves_the_other(tmp_path):
    addresses = [f"ipc://{tmp_path}/engine-{number}" for number in range(2)]
    with (
        fake_engine(addresses[0]) as doomed,
        fake_engine(addresses[1]),
        client_of(*addresses) as client,
    ):
        assert client.wait_ready(PATIENCE_SECONDS)
        stream = client.submit([Job(job_id=str(n), **LONG) for n in range(4)])
        wait_until(lambda: [status.running for status in client.status()] == [2, 2])
        doomed.kill()
        with pytest.raises(EngineUnavailableError):
            while True:
                stream.next_events(PATIENCE_SECONDS)
        wait_until(lambda: [status.running for status in client.status()] == [0])
        assert tokens_of(client.submit([Job(job_id="0")])) == SCRIPT


@contextlib.contextmanager
def engine_that_turns_all_away(address, status):
    """It says it has room, and then has none: others were faster."""
    context = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.bind(address)
    refused = []
    ended = threading.Event()

    def answer():
        while not ended.is_set():
            if not socket.poll(20):
                continue
            worker, data = socket.recv_multipart()
            message = decode_to_engine(data)
            if isinstance(message, Hello):
                socket.send_multipart([worker, encode(Welcome(VERSION, status))])
            if isinstance(message, Submit):
                refused.extend(job.job_id for job in message.jobs)
                names = tuple(job.job_id for job in message.jobs)
                refusal = Refused(names, "overloaded", "full", room=0)
                socket.send_multipart([worker, encode(refusal)])

    thread = threading.Thread(target=answer)
    thread.start()
    try:
        yield refused
    finally:
        ended.set()
        thread.join()
        socket.close(linger=0)
        context.term()


def test_whom_one_engine_turns_away_another_takes(tmp_path):
    addresses = [f"ipc://{tmp_path}/engine-{number}" for number in range(2)]
    with fake_engine(addresses[1], max_running=2, max_queue=0), client_of(*addresses) as client:
        wait_until(client.status)
        (status,) = client.status()
        with engine_that_turns_all_away(addresses[0], replace(status, engine_id="x")) as refused:
            assert client.wait_ready(PATIENCE_SECONDS)
            taken = client.submit([Job(job_id="a", **LONG), Job(job_id="b", **LONG)])
            wait_until(lambda: client.status()[1].running == 2)
            assert refused == ["a"]
            with pytest.raises(OverloadedError):
                client.check_room(1)
            taken.close()


def test_whom_all_engines_turn_away_is_refused(tmp_path):
    addresses = [f"ipc://{tmp_path}/engine-{number}" for number in range(2)]
    with fake_engine(addresses[1], max_running=1, max_queue=0), client_of(*addresses) as client:
        wait_until(client.status)
        (status,) = client.status()
        with engine_that_turns_all_away(addresses[0], replace(status, engine_id="x")):
            assert client.wait_ready(PATIENCE_SECONDS)
            stream = client.submit([Job(job_id="a", **LONG), Job(job_id="b", **LONG)])
            with pytest.raises(OverloadedError, match="of at most 2"):
                while True:
                    stream.next_events(PATIENCE_SECONDS)
            wait_until(lambda: client.status()[1].running == 0)


def test_the_engine_that_knows_the_prompt_is_asked_of_those_as_busy(tmp_path):
    addresses = [f"ipc://{tmp_path}/engine-{number}" for number in range(2)]
    prompts = [(number,) * 40 for number in (1, 2)]
    with fake_engine(addresses[0]), fake_engine(addresses[1]), client_of(*addresses) as client:
        assert client.wait_ready(PATIENCE_SECONDS)
        streams = [
            client.submit([Job(job_id=str(n), prompt_token_ids=prompts[n], **LONG)])
            for n in range(2)
        ]
        wait_until(lambda: [status.running for status in client.status()] == [1, 1])
        for stream in streams:
            stream.close()
        wait_until(lambda: [status.running for status in client.status()] == [0, 0])
        for n, running in ((1, [0, 1]), (0, [1, 1])):
            stream = client.submit([Job(job_id=str(n), prompt_token_ids=prompts[n], **LONG)])
            assert read_until_tokens(stream)[0].cached_tokens == 40
            wait_until(lambda r=running: [status.running for status in client.status()] == r)


def test_the_other_engine_goes_on_when_one_dies(tmp_path):
    addresses = [f"ipc://{tmp_path}/engine-{number}" for number in range(2)]
    with (
        fake_engine(addresses[0]) as doomed,
        fake_engine(addresses[1]),
        client_of(*addresses) as client,
    ):
        wait_until(lambda: len(client.status()) == 2)
        streams = [client.submit([Job(job_id=str(n), **LONG)]) for n in range(2)]
        for stream in streams:
            read_until_tokens(stream)
        doomed.kill()
        failures = 0
        for stream in streams:
            try:
                for _ in range(20):
                    assert stream.next_events(PATIENCE_SECONDS)
            except EngineUnavailableError:
                failures += 1
        assert failures == 1
        assert tokens_of(client.submit([Job(job_id="a")])) == SCRIPT


def test_a_draining_engine_finishes_what_it_has_and_takes_nothing_new(address):
    """Another job keeps it from being through before anybody has seen that it drains."""
    options = {"step_seconds": 0.01, "drain_seconds": PATIENCE_SECONDS}
    with engine_and_client(address, **options) as (engine, client):
        stream = client.submit([Job(job_id="a", max_tokens=100, ignore_eos=True)])
        other = client.submit([Job(job_id="other", **LONG)])
        events = read_until_tokens(stream)
        assert read_until_tokens(other), "it has been taken"
        engine.terminate()
        with pytest.raises(ShuttingDownError):
            while True:
                list(client.submit([Job(job_id="b", max_tokens=1)]))
        assert not client.ready
        events += list(stream)
        assert len(tokens_of(events)) == 100
        other.next_events()
        assert read_until_tokens(other), "it goes on"
        other.cancel()
        assert list(other)[-1].finish_reason == "cancelled"
        assert engine.wait(PATIENCE_SECONDS) == 0


def test_a_drain_has_an_end(address):
    with engine_and_client(address, drain_seconds=0.2) as (engine, client):
        stream = client.submit([Job(job_id="a", **LONG)])
        read_until_tokens(stream)
        engine.terminate()
        assert list(stream)[-1].error_code == "shutting_down"
        assert engine.wait(PATIENCE_SECONDS) == 0


_WORKER = """
import sys
from service.engine.request import Job
from service.engine.wire import (
    VERSION,
    Hello,
    Refused,
    Submit,
    Welcome,
    decode_to_engine,
    encode,
)
from service.engine_client import EngineClient
client = EngineClient([sys.argv[1]])
assert client.wait_ready(60)
stream = client.submit([Job(job_id="a", max_tokens=10**6, ignore_eos=True)])
stream.next_events()
print("running", flush=True)
for event in stream:
    pass
"""


@contextlib.contextmanager
def worker_process(address):
    process = subprocess.Popen(
        [sys.executable, "-c", _WORKER, address],
        env={"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
    )
    try:
        assert process.stdout.readline() == b"running\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def test_the_jobs_of_a_killed_worker_are_cancelled(address):
    with engine_and_client(address) as (_, client):
        with worker_process(address) as worker:
            wait_until(lambda: client.status()[0].running == 1)
            worker.kill()
            wait_until(lambda: client.status()[0].running == 0)
        assert client.status()[0].cancelled_total == 1


def test_the_jobs_of_a_hung_worker_are_cancelled(address):
    with (
        engine_and_client(address, worker_timeout_seconds=1.0) as (_, client),
        worker_process(address) as worker,
    ):
        wait_until(lambda: client.status()[0].running == 1)
        os.kill(worker.pid, signal.SIGSTOP)
        wait_until(lambda: client.status()[0].running == 0)


def test_names_must_be_unique_while_open(address):
    with engine_and_client(address) as (_, client):
        with pytest.raises(ValueError, match="ids of their own"):
            client.submit([])
        with pytest.raises(ValueError, match="ids of their own"):
            client.submit([Job(job_id="a"), Job(job_id="a")])
        stream = client.submit([Job(job_id="a", **LONG)])
        with pytest.raises(ValueError, match="ids of their own"):
            client.submit([Job(job_id="a")])
        stream.close()
        # The name is free again when the engine has confirmed the cancelled job's end.
        wait_until(lambda: client.status()[0].cancelled_total == 1)
        assert tokens_of(client.submit([Job(job_id="a")])) == SCRIPT


def test_closing_the_client_fails_what_is_open(address):
    with engine_and_client(address) as (_, client):
        stream = client.submit([Job(job_id="a", **LONG)])
        read_until_tokens(stream)
        client.close()
        with pytest.raises(EngineUnavailableError):
            while True:
                stream.next_events(PATIENCE_SECONDS)
        with pytest.raises(EngineUnavailableError):
            client.submit([Job(job_id="b")])


def test_a_client_does_not_survive_a_fork(address):
    with client_of(address) as client:
        child = os.fork()
        if child == 0:
            try:
                client.submit([Job(job_id="a")])
            except RuntimeError as error:
                os._exit(7 if "fork" in str(error) else 1)
            os._exit(2)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7


def test_the_same_seed_gives_the_same_from_any_engine(tmp_path):
    answers = []
    for number in range(2):
        address = f"ipc://{tmp_path}/engine-{number}"
        with engine_and_client(address) as (_, client):
            job = Job(
                job_id="a",
                max_tokens=30,
                ignore_eos=True,
                sampling=SamplingParams(seed=4, logit_bias={5: -100, 6: -100, 7: -100}),
            )
            answers.append(tokens_of(client.submit([job])))
    assert answers[0] == answers[1]
    assert len(answers[0]) == 30
