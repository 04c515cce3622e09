"""The engine's socket, spoken to directly: by strangers, by the confused, by the wrong version."""

import threading

import pytest
import zmq
from fake_runtime import FakeRuntime

from service.engine.loop import EngineLoop
from service.engine.request import EngineStatus, Finished, Job
from service.engine.server import EngineServer
from service.engine.wire import (
    VERSION,
    Cancel,
    Events,
    Hello,
    Ping,
    Refused,
    Submit,
    Welcome,
    decode_to_worker,
    encode,
)

PATIENCE_MS = 60_000


@pytest.fixture
def address(tmp_path):
    return f"ipc://{tmp_path}/engine"


@pytest.fixture
def server(address):
    loop = EngineLoop(FakeRuntime(script=(5, 6)), end_of_text_id=0, max_running=1, max_queue=1)
    server = EngineServer(loop, address, model_digest="d", worker_timeout_seconds=0.5)
    thread = threading.Thread(target=server.run)
    thread.start()
    yield server
    server.stop()
    thread.join()


class Worker:
    """A bare socket that speaks the wire format, or not."""

    def __init__(self, address):
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.DEALER)
        self.socket.connect(address)

    def say(self, message):
        self.socket.send(message if isinstance(message, bytes) else encode(message))

    def hear(self, kind):
        """The next message of ``kind``; others are passed over."""
        while self.socket.poll(PATIENCE_MS):
            message = decode_to_worker(self.socket.recv())
            if isinstance(message, kind):
                return message
        raise AssertionError(f"no {kind.__name__} is heard")

    def hear_end(self, job_id):
        while True:
            for event in self.hear(Events).events:
                if isinstance(event, Finished) and event.job_id == job_id:
                    return event

    def close(self):
        self.socket.close(linger=0)
        self.context.term()


@pytest.fixture
def worker(server, address):
    worker = Worker(address)
    yield worker
    worker.close()


def greet(worker):
    worker.say(Hello(VERSION))
    return worker.hear(Welcome).status


def test_a_greeting_and_a_job(worker):
    status = greet(worker)
    assert (status.model_digest, status.ready, status.max_running) == ("d", True, 1)
    worker.say(Submit(status.engine_id, (Job(job_id="a"),)))
    assert worker.hear_end("a").finish_reason == "stop"
    assert worker.hear(EngineStatus).engine_id == status.engine_id


def test_noise_is_passed_over(worker):
    status = greet(worker)
    worker.say(b"noise")
    worker.say(encode(status))  # what only engines say
    worker.socket.send_multipart([b"too", b"many", b"parts"])
    worker.say(Submit(status.engine_id, (Job(job_id="a"),)))
    assert worker.hear_end("a").finish_reason == "stop"


def test_jobs_for_an_engine_long_gone_are_refused(worker):
    greet(worker)
    worker.say(Submit("somebody else", (Job(job_id="a"), Job(job_id="b"))))
    refused = worker.hear(Refused)
    assert (refused.reason, refused.job_ids) == ("other_engine", ("a", "b"))


def test_a_request_that_does_not_fit_is_refused_whole(worker):
    status = greet(worker)
    worker.say(Submit(status.engine_id, tuple(Job(job_id=str(n)) for n in range(3))))
    refused = worker.hear(Refused)
    assert refused.reason == "overloaded"
    assert len(refused.job_ids) == 3


def test_a_second_greeting_cancels_what_was_open(worker):
    status = greet(worker)
    long_job = Job(job_id="a", max_tokens=10**6, ignore_eos=True)
    worker.say(Submit(status.engine_id, (long_job,)))
    worker.hear(Events)
    assert greet(worker).running == 0


def test_a_worker_given_up_is_told_to_start_afresh(worker):
    status = greet(worker)
    long_job = Job(job_id="a", max_tokens=10**6, ignore_eos=True)
    worker.say(Submit(status.engine_id, (long_job,)))
    worker.hear(Events)
    while worker.socket.poll(2000):  # until it is not even told the status any more
        worker.socket.recv()
    worker.say(Ping())
    assert worker.hear(Welcome).status.running == 0


def test_cancelling_the_unknown_is_nothing(worker):
    greet(worker)
    worker.say(Cancel(("x",)))
    assert worker.hear(EngineStatus).cancelled_total == 0


def test_draining_is_told_at_once_and_refuses(worker, server):
    status = greet(worker)
    long_job = Job(job_id="a", max_tokens=10**6, ignore_eos=True)
    worker.say(Submit(status.engine_id, (long_job,)))
    worker.hear(Events)
    server.stop()
    while not worker.hear(EngineStatus).draining:
        pass
    worker.say(Submit(status.engine_id, (Job(job_id="b"),)))
    assert worker.hear(Refused).reason == "shutting_down"
    worker.say(Cancel(("a",)))
    assert worker.hear_end("a").finish_reason == "cancelled"
