"""What is refused without a thread is answered as the application would, and nothing else is."""

import contextlib
import json
import re
import socket

import pytest
from fake_engine import fake_engine
from hypothesis import given
from hypothesis import strategies as st
from running_service import PATIENCE_SECONDS, running_service, wait_until
from tiny_bundle import tiny_bundle

from model.bundle.load import load_bundle
from service.engine.request import Job
from service.front import Front
from service.quick_refusal import QuickRefusal
from service.served_model import ServedModel, ServedModels
from service.settings import Settings

PLACES, QUEUE = 2, 1
LONG = {"prompt": "In", "max_tokens": 4000, "ignore_eos": True}
HEAD = {"Host": "x", "Content-Type": "application/json"}


def written(body, headers=None, path="/v1/completions", *, chunked=False):
    """A request as it goes over the line; ``chunked`` ones are always the application's."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = HEAD | (headers or {})
    if chunked:
        lines |= {"Transfer-Encoding": "chunked"}
        content = b"%x\r\n%s\r\n0\r\n\r\n" % (len(content), content)
    else:
        lines |= {"Content-Length": str(len(content))}
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + content


class Line:
    """A raw connection."""

    def __init__(self, service):
        host, port = service.url.removeprefix("http://").split(":")
        self.socket = socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)
        self._stream = self.socket.makefile("rb")

    def answer(self):
        """Status line, headers but for the date, JSON."""
        status = self._stream.readline()
        headers = {}
        while line := self._stream.readline().strip():
            name, _, value = line.decode().partition(": ")
            headers[name] = value
        body = json.loads(self._stream.read(int(headers["Content-Length"])))
        assert re.fullmatch(r"\w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT", headers.pop("Date"))
        return status, headers, body

    def ask(self, request):
        self.socket.sendall(request)
        return self.answer()

    def at_end(self):
        return self._stream.read() == b""

    def close(self):
        self._stream.close()
        self.socket.close()


@pytest.fixture(scope="module")
def service():
    flags = ("--max-running", str(PLACES), "--max-queue", str(QUEUE), "--api-keys", "key-one")
    with running_service(tiny_bundle(), *flags) as service:
        service.session.headers["Authorization"] = "Bearer key-one"
        yield service


@pytest.fixture
def connect(service):
    """Makes connections, which are closed when the test ends."""
    with contextlib.ExitStack() as lines:

        def connect():
            line = Line(service)
            lines.callback(line.close)
            return line

        yield connect


@pytest.fixture
def full(service):
    """The service with every place and the whole queue taken, until the test ends."""
    with contextlib.ExitStack() as lines:
        for _ in range(PLACES + QUEUE):
            line = Line(service)
            lines.callback(line.close)
            line.socket.sendall(written(LONG, {"Authorization": "Bearer key-one"}))
        wait_until(lambda: service.load() == (PLACES, QUEUE), "it is full")
        yield service
    wait_until(lambda: service.load() == (0, 0), "it is free again")


KEY = {"Authorization": "Bearer key-one", "X-Request-Id": "mine"}


@pytest.mark.parametrize(
    ("body", "headers", "status"),
    [
        ({"prompt": "In"}, KEY, 503),
        ({"prompt": ["In", "Out"], "n": 1, "stream": True}, KEY, 503),
        ({"prompt": "In", "frobnicate": 1, "odd field": 2}, KEY, 503),
        ({"prompt": "In", "odd field": 2}, KEY, 503),
        ({"prompt": "In"}, KEY | {"Connection": "close"}, 503),
        ({"prompt": "In"}, KEY | {"Foretoken-Strict": "true"}, 503),
        ({"prompt": "In", "frobnicate": 1}, KEY | {"Foretoken-Strict": "true"}, 400),
        ({"prompt": "In", "n": 4}, KEY, 400),
        ({"prompt": "In", "max_tokens": -1}, KEY, 400),
        ({"prompt": "In", "model": "none"}, KEY, 404),
        ({"prompt": "In"}, {"X-Request-Id": "mine"}, 401),
        ({"prompt": "In"}, KEY | {"Authorization": "Bearer key-two"}, 401),
        ({"prompt": "In"}, KEY | {"Content-Type": "text/plain"}, 415),
        (b'{"prompt": "In"', KEY, 400),
        (b"", KEY, 400),
    ],
)
@pytest.mark.usefixtures("full")
def test_every_answer_is_the_applications(connect, body, headers, status):
    quick = connect().ask(written(body, headers))
    slow = connect().ask(written(body, headers, chunked=True))
    assert f" {status} ".encode() in quick[0]
    # How long there will be a wait is an estimate, which grows older.
    waits = [int(answer[1].pop("Retry-After", 1)) for answer in (quick, slow)]
    assert abs(waits[0] - waits[1]) <= 1
    assert quick == slow
    assert list(quick[1]) == list(slow[1])


@pytest.mark.usefixtures("full")
def test_a_connection_goes_on_after_refusals(connect):
    line = connect()
    answers = [line.ask(written({"prompt": "In"}, KEY)) for _ in range(20)]
    assert {answer[0] for answer in answers} == {b"HTTP/1.1 503 SERVICE UNAVAILABLE\r\n"}
    line.socket.sendall(written({"prompt": "In"}, KEY) + written({"prompt": 3}, KEY))
    assert [line.answer()[0].split()[1] for _ in range(2)] == [b"503", b"400"]
    closing = connect()
    closing.ask(written({"prompt": "In"}, KEY | {"Connection": "close"}))
    assert closing.at_end()


def test_every_refusal_is_counted(full, connect):
    def count():
        lines = full.get("/metrics").text.splitlines()
        found = {line.split(" ")[0]: float(line.split()[-1]) for line in lines if line[0] != "#"}
        return [
            found['foretoken_requests_rejected_total{reason="overloaded"}'],
            found.get('foretoken_requests_total{endpoint="/v1/completions",status="503"}', 0.0),
            found['foretoken_request_duration_seconds_count{endpoint="/v1/completions"}'],
        ]

    before, line = count(), connect()
    for _ in range(7):
        line.ask(written({"prompt": "In"}, KEY))
    assert count() == [number + 7 for number in before]


@pytest.fixture(scope="module")
def refusal(tmp_path_factory):
    """A quick refusal of a model whose one engine is full."""
    address = f"ipc://{tmp_path_factory.mktemp('engine')}/engine"
    with fake_engine(address, max_running=1, max_queue=0, step_seconds=0.05):
        bundle = load_bundle(tiny_bundle())
        model = ServedModel(bundle, [address], Settings(max_running=1, max_queue=0))
        assert model.engines.wait_ready(PATIENCE_SECONDS)
        front = Front(Settings(), ServedModels([model]), lambda: False, lambda: None, None)
        refusal = QuickRefusal(front)
        assert not refusal.is_full(0)
        assert refusal.is_full(1)  # for the place is somebody else's who came before
        assert b"the queue is full: 1 sequences run or wait, of at most 1;" in (
            refusal.of(written({"prompt": "In"}), 1).answer
        )
        assert refusal.of(written({"prompt": "In"}), 0) is None
        stream = model.engines.submit([Job(job_id="long", prompt_token_ids=(1,), max_tokens=4000)])
        wait_until(lambda: refusal.is_full(0), "the engine is full")
        yield refusal
        stream.close()
        model.engines.close()


def test_no_thread_is_needed_for_an_everyday_request(refusal):
    refused = refusal.of(written({"prompt": "In"}), 0)
    assert refused.answer.startswith(b"HTTP/1.1 503 SERVICE UNAVAILABLE\r\n")
    assert b"\r\nRetry-After: " in refused.answer
    assert refused.keeps_connection
    assert not refusal.of(written({"prompt": "In"}, {"Connection": "close"}), 0).keeps_connection


@pytest.mark.parametrize(
    "request_bytes",
    [
        written({"prompt": "In"}, path="/v1/next"),
        written({"prompt": "In"}, path="/v1/completions?x=1"),
        written({"prompt": "In"}, chunked=True),
        written({"prompt": "In"}, {"Expect": "100-continue"}),
        written({"prompt": "In"}, {"Upgrade": "h2c"}),
        written({"prompt": "In"}, {"Connection": "upgrade"}),
        written({"prompt": "In"}, {"host": "y"}),
        written({"prompt": "In"}, {"Content-Encoding": "gzip"}),
        written({"prompt": "In"}, {"X": "\u00e9"}),
        written({"prompt": "In"}, {"X": "a\r\n b"}),
        written({"prompt": "In"}) + b" ",
        written({"prompt": "In"})[:-1],
        written({"prompt": "In"}).replace(b"HTTP/1.1", b"HTTP/1.0"),
        written({"prompt": "In"}).replace(b"Host: x\r\n", b""),
        written({"prompt": "In", "n": 2}),
    ],
)
def test_what_is_unusual_is_left_to_the_application(refusal, request_bytes):
    assert refusal.of(request_bytes, 0) is None


@given(st.binary(max_size=300), st.integers(0, 300))
def test_no_bytes_bring_it_down(refusal, noise, at):
    request = written({"prompt": "In"})
    refusal.of(noise, 0)
    refusal.of(request[:at] + noise + request[at:], 0)


def test_many_refusals_are_one_line_of_the_log(refusal, caplog):
    with caplog.at_level("INFO", "service.quick_refusal"):
        for _ in range(500):
            refusal.of(written({"prompt": "In"}), 0)
    assert len(caplog.messages) <= 3
    assert all(re.fullmatch(r"\d+ completions refused: 503 overloaded", m) for m in caplog.messages)
