"""The service as a whole, over real HTTP: its clients, its load, its deaths."""

import contextlib
import json
import math
import os
import select
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai
import pytest
import requests
from running_service import PATIENCE_SECONDS, PROJECT, running_service, wait_until
from tiny_bundle import publish_tiny_bundle, tiny_bundle

#: A request that runs until it is told to stop.
ENDLESS = {"prompt": "In", "max_tokens": 1_000_000, "ignore_eos": True}
FLAGS = ("--max-tokens", "1000000", "--max-running", "2", "--max-queue", "2")


@pytest.fixture(scope="module")
def service():
    """Two places, a queue of two, and short waits."""
    with running_service(tiny_bundle(), *FLAGS, "--queue-timeout-s", "1.5") as service:
        yield service


@pytest.fixture(scope="module")
def client(service):
    with openai.OpenAI(
        base_url=f"{service.url}/v1", api_key="none", max_retries=0, timeout=PATIENCE_SECONDS
    ) as client:
        yield client


class Open:
    """A request sent on a connection of its own, whose answer nobody reads until asked."""

    def __init__(self, service, fields, path="/v1/completions"):
        host, port = service.url.removeprefix("http://").split(":")
        body = json.dumps(fields).encode()
        self.connection = socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)
        self.connection.sendall(
            f"POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n".encode()
            + body
        )

    def read(self):
        """All that comes until the connection closes."""
        received = b""
        with self.connection:
            while part := self.connection.recv(65536):
                received += part
        return received

    def begin(self):
        """Waits for the first byte of the answer, without reading it away."""
        self.connection.recv(1, socket.MSG_PEEK)

    def close(self):
        self.connection.close()


@contextlib.contextmanager
def busy(service, count, beside=0, **more):
    """``count`` endless requests, running or waiting for the length of a ``with``.

    So many others are there ``beside`` them.
    """
    requests_ = [Open(service, ENDLESS | more) for _ in range(count)]
    try:
        wait_until(lambda: sum(service.load()) == beside + count, f"{count} requests are there")
        yield requests_
    finally:
        for request in requests_:
            request.close()
        wait_until(lambda: sum(service.load()) == beside, "the places are free again")


def test_the_openai_client_completes(client):
    answer = client.completions.create(
        model="bpe", prompt=["In", "The"], max_tokens=5, n=2, logprobs=2, seed=1, echo=True
    )
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert answer.choices[0].text.startswith("In")
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens


def test_the_openai_client_streams(client):
    fields = {"model": "bpe", "prompt": "In", "max_tokens": 20, "seed": 1}
    plain = client.completions.create(**fields)
    chunks = list(
        client.completions.create(**fields, stream=True, stream_options={"include_usage": True})
    )
    text = "".join(choice.text for chunk in chunks for choice in chunk.choices)
    assert text == plain.choices[0].text
    assert chunks[-1].usage.total_tokens == plain.usage.total_tokens


def test_the_openai_client_maps_errors(service, client):
    with pytest.raises(openai.BadRequestError) as bad:
        client.completions.create(model="bpe", prompt="x", max_tokens=-1)
    assert (bad.value.code, bad.value.param) == ("invalid_value", "max_tokens")
    assert bad.value.request_id
    with pytest.raises(openai.NotFoundError):
        client.completions.create(model="gpt", prompt="x")
    with busy(service, 4), pytest.raises(openai.InternalServerError) as full:
        client.completions.create(model="bpe", prompt="x")
    assert full.value.code == "overloaded"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("gpt")
    assert [model.id for model in client.models.list()] == ["bpe"]


@pytest.mark.parametrize("stream", [False, True])
def test_a_gone_client_frees_its_place(service, stream):
    with busy(service, 4, stream=stream) as open_requests:
        assert service.load() == (2, 2)
        open_requests[0].close()
        open_requests[2].close()
        wait_until(lambda: service.load() == (2, 0), "the waiting ones run")


#: Work for many seconds, each of one sequence.
LONG = {
    "plain": ("/v1/completions", ENDLESS),
    "stream": ("/v1/completions", ENDLESS | {"stream": True}),
    "next": ("/v1/next", {"prompt": [5] * 32_000}),
    "score": ("/v1/score", {"input": [5] * 32_000, "top_logprobs": 20}),
    "fill": ("/v1/fill", {"text": "a ____" + " c" * 600, "pool": 400, "max_right_tokens": 512}),
    "explain": ("/v1/explain", {"prompt": "In Italy, " * 3000, "target": "!", "max_units": 300}),
    "embeddings": ("/v1/embeddings", {"input": [5] * 32_000}),
}


@pytest.fixture(scope="module")
def patient():
    """Two places of one engine, whose queue has time."""
    with running_service(tiny_bundle(), *FLAGS, "--engines", "1") as service:
        yield service


@pytest.mark.parametrize("kind", LONG)
def test_what_a_gone_client_leaves_is_free_within_a_second(patient, kind):
    """Seen from a request that waits for the place; the best of three, for machines are busy."""
    path, fields = LONG[kind]

    def seconds():
        with busy(patient, 1):
            leaving = Open(patient, fields, path)
            wait_until(lambda: patient.load() == (2, 0), "it runs beside another")
            next_one = Open(patient, {"prompt": "x", "max_tokens": 1})
            wait_until(lambda: patient.load()[1] == 1, "the next one waits")
            leaving.close()
            began_at = time.monotonic()
            answer = next_one.read()
            return time.monotonic() - began_at if answer.startswith(b"HTTP/1.1 200 ") else math.inf

    assert any(seconds() <= 1 for _ in range(3))


def test_a_full_queue_refuses_at_once_and_health_answers(service):
    with busy(service, 4):
        refused = service.post("/v1/completions", {"prompt": "x" * 100_000})
        assert refused.status_code == 503
        assert refused.json()["error"]["code"] == "overloaded"
        assert 1 <= int(refused.headers["Retry-After"]) <= 120
        # Fields are looked at before there is room, the state after.
        for fields, code in (({"n": 0}, "invalid_value"), ({"state": "x"}, "overloaded")):
            answer = service.post("/v1/completions", fields)
            assert answer.json()["error"]["code"] == code
        for path in ("/health", "/ready", "/metrics"):
            assert service.get(path).status_code == 200
    assert service.complete(prompt="x", max_tokens=1)


def test_clients_that_do_not_hang_up_hold_nobody_up(service):
    """Far more of them than there is time to wait for one after the other."""
    with contextlib.ExitStack() as connections:
        staying = [Open(service, {"prompt": "x"}, "/v1/tokenize") for _ in range(100)]
        for request in staying:
            connections.callback(request.close)
        for request in staying:
            request.begin()
        with requests.Session() as newcomer:
            answer = newcomer.get(f"{service.url}/health", timeout=PATIENCE_SECONDS)
    assert answer.status_code == 200


@pytest.mark.parametrize("num_bytes", [0, 100])
def test_clients_that_do_not_send_their_request_hold_no_operator_up(service, num_bytes):
    """Far more of them than there are threads; each could keep one for many seconds."""
    begun = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n"[:num_bytes]
    host, port = service.url.removeprefix("http://").split(":")
    with contextlib.ExitStack() as connections:
        for _ in range(600):
            address = (host, int(port))
            connection = socket.create_connection(address, timeout=PATIENCE_SECONDS)
            connections.enter_context(connection).sendall(begun)
        for path in ("/health", "/ready", "/metrics"):
            with requests.Session() as newcomer:
                answer = newcomer.get(service.url + path, timeout=PATIENCE_SECONDS)
            assert answer.status_code == 200
        if not begun:
            assert service.complete(prompt="x", max_tokens=1)


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/v1/completions", {"prompt": "x", "n": 5}, "n"),
        ("/v1/completions", {"prompt": "x", "best_of": 5}, "best_of"),
        ("/v1/completions", {"prompt": "x", "suffix": "y"}, "suffix"),
        ("/v1/completions", {"prompt": ["x"] * 3, "n": 2, "stream": True}, "prompt"),
        ("/v1/next", {"prompt": ["x"] * 5}, "prompt"),
        ("/v1/score", {"input": ["x"] * 5}, "input"),
        ("/v1/embeddings", {"input": ["x"] * 5}, "input"),
    ],
)
def test_a_request_that_there_is_never_room_for_will_stay_wrong(service, path, fields, param):
    """It is told so, and not to come back."""
    answer = service.post(path, fields)
    assert answer.status_code == 400
    assert "Retry-After" not in answer.headers
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("too_many_sequences", param)
    assert "max_running + max_queue, which is 4" in error["message"]


def test_a_request_that_takes_all_the_room_there_is_is_answered(service):
    assert len(service.complete(prompt=["x", "y"], n=2, max_tokens=1)["choices"]) == 4


@pytest.mark.parametrize("stream", [False, True])
def test_who_waits_too_long_is_refused(service, stream):
    with busy(service, 2):
        answer = service.post("/v1/completions", {"prompt": "x", "stream": stream})
        assert answer.status_code == 503
        assert answer.json()["error"]["code"] == "queue_timeout"
        assert "Retry-After" in answer.headers


def test_the_same_text_alone_and_under_load(service):
    fields = {"prompt": "In", "seed": 3, "max_tokens": 40, "logprobs": 2}
    alone = service.complete(**fields)["choices"]

    def answer(number):
        if number % 2:
            return requests.post(
                f"{service.url}/v1/completions", json=fields, timeout=PATIENCE_SECONDS
            )
        other = {"prompt": "The" * number, "seed": number, "max_tokens": 5 * number}
        return requests.post(f"{service.url}/v1/completions", json=other, timeout=PATIENCE_SECONDS)

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(answer, range(24)))
    assert [a.json()["choices"] for a in answers[1::2]] == [alone] * 12


def test_requests_that_take_too_long():
    with running_service(tiny_bundle(), *FLAGS, "--request-timeout-s", "0.5") as service:
        answer = service.post("/v1/completions", ENDLESS)
        assert answer.status_code == 504
        assert answer.headers["x-should-retry"] == "false"
        assert answer.json()["error"]["code"] == "request_timeout"
        received = Open(service, ENDLESS | {"stream": True}).read()
        assert received.startswith(b"HTTP/1.1 200 ")
        assert b"[DONE]" not in received
        last = received.rstrip(b"0\r\n").split(b"data: ")[-1]
        assert json.loads(last)["error"]["code"] == "request_timeout"
        # A stream that failed closes its connection, asked for or not.
        kept = service.post("/v1/completions", ENDLESS | {"stream": True}, stream=True)
        assert b"request_timeout" in kept.content
        # Nor is the next request answered that had come already.
        body = json.dumps(ENDLESS | {"stream": True}).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n"
        sent = head.encode() + b"Content-Type: application/json\r\n\r\n" + body
        host, port = service.url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), PATIENCE_SECONDS) as connection:
            connection.sendall(sent)
            received = connection.recv(65536)
            connection.sendall(sent)
            while part := connection.recv(65536):
                received += part
        assert received.count(b"HTTP/1.1 ") == 1
        assert b"request_timeout" in received
        assert requests.get(f"{service.url}/health", timeout=PATIENCE_SECONDS).status_code == 200


def test_a_killed_engine_fails_its_requests_and_comes_back():
    with running_service(tiny_bundle(), *FLAGS) as service:
        plain, stream = Open(service, ENDLESS), Open(service, ENDLESS | {"stream": True})
        wait_until(lambda: service.load() == (2, 0), "both places are taken")
        stream.begin()
        waiting = Open(service, ENDLESS)
        wait_until(lambda: service.load() == (2, 1), "the third one waits")
        os.kill(service.children()["engine bpe"], signal.SIGKILL)
        # Before anybody has read that it failed: the engine takes a while to start again.
        wait_until(lambda: b"engine_unavailable" in service.get("/ready").content, "it is unready")
        assert service.get("/health").status_code == 200
        for request in (plain, waiting):
            answer = request.read()
            assert answer.startswith(b"HTTP/1.1 503 ")
            assert b'"code":"engine_unavailable"' in answer
            assert b"Retry-After" in answer
        streamed = stream.read()
        assert streamed.startswith(b"HTTP/1.1 200 ")
        assert b"engine_unavailable" in streamed
        assert b"[DONE]" not in streamed
        wait_until(lambda: service.get("/ready").status_code == 200, "the engine is back")
        assert service.complete(prompt="x", max_tokens=2)


def test_two_engines_are_one_service_and_one_of_them_may_die():
    """What is configured holds for both together, whoever is asked."""
    with running_service(tiny_bundle(), *FLAGS, "--engines", "2") as service:
        worker = service.children(service.children()["HTTP server"])["HTTP worker"]
        niceness = [
            os.getpriority(os.PRIO_PROCESS, process)
            for process in (worker, service.children()["engine bpe"])
        ]
        assert niceness[1] == min(19, niceness[0] + 5), "engines stand back behind HTTP workers"
        alone = service.complete(prompt="In", n=4, seed=1, max_tokens=9)["choices"]
        with busy(service, 3):
            wait_until(lambda: service.load() == (2, 1), "both engines run one")
            answer = service.post("/v1/completions", {"prompt": "In", "n": 2})
            assert answer.json()["error"]["code"] == "overloaded"
            with busy(service, 1, beside=3):
                assert service.post("/v1/next", {}).json()["error"]["code"] == "overloaded"
                wait_until(lambda: service.load() == (2, 2), "both have one waiting")
                metrics = service.get("/metrics").text
                assert "foretoken_requests_running 2.0" in metrics
                assert "foretoken_requests_waiting 2.0" in metrics
        both = {(request := Open(service, ENDLESS)).connection: request for _ in range(2)}
        wait_until(lambda: service.load() == (2, 0), "both engines run one")
        os.kill(service.children()["engine bpe"], signal.SIGKILL)
        (answered,), _, _ = select.select(list(both), [], [], PATIENCE_SECONDS)
        assert b'"code":"engine_unavailable"' in both.pop(answered).read()
        ((_, other),) = both.items()
        wait_until(lambda: service.load() == (1, 0), "the other request goes on")
        other.close()

        def room_for_four():
            answer = service.post("/v1/completions", {"prompt": "In", "n": 4, "seed": 1})
            return answer.status_code == 200

        wait_until(lambda: service.load() == (0, 0), "the other client has hung up")
        assert service.complete(prompt="In", n=2, seed=1, max_tokens=9)["choices"] == alone[:2]
        wait_until(room_for_four, "the engine is back")
        assert service.complete(prompt="In", n=4, seed=1, max_tokens=9)["choices"] == alone


def test_a_killed_http_server_comes_back():
    with running_service(tiny_bundle(), *FLAGS) as service:
        server = service.children()["HTTP server"]
        os.kill(service.children(server)["HTTP worker"], signal.SIGKILL)
        wait_until(lambda: service.children(server), "there is another worker")
        os.kill(server, signal.SIGKILL)
        wait_until(
            lambda: service.children().get("HTTP server", server) != server, "there is another"
        )
        service.session.close()
        wait_until(lambda: service.get("/ready").status_code == 200, "it answers again")


def test_shutting_down_lets_running_work_finish():
    with running_service(tiny_bundle(), *FLAGS, "--drain-timeout-s", "60") as service:
        endless = Open(service, ENDLESS | {"stream": True})
        finishing = Open(service, ENDLESS | {"max_tokens": 2000, "stream": True})
        endless.begin()
        finishing.begin()
        service.process.send_signal(signal.SIGTERM)
        code = wait_until(lambda: _refusal(service), "new work is refused")
        assert code == "shutting_down"
        assert service.get("/health").status_code == 200
        assert service.get("/ready").json()["error"]["code"] == "shutting_down"
        assert finishing.read().endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")
        assert service.process.poll() is None
        service.session.close()
        endless.close()
        assert service.process.wait(PATIENCE_SECONDS) == 0


def _refusal(service):
    answer = service.post("/v1/completions", {"prompt": "x", "max_tokens": 1})
    return answer.json()["error"]["code"] if answer.status_code == 503 else None


def test_shutting_down_does_not_wait_for_ever():
    with running_service(tiny_bundle(), *FLAGS, "--drain-timeout-s", "0.2") as service:
        endless = Open(service, ENDLESS)
        wait_until(lambda: service.load() == (1, 0), "it runs")
        with ThreadPoolExecutor(1) as pool:
            answer = pool.submit(endless.read)
            assert service.stop() == 0
        assert b'"code":"shutting_down"' in answer.result()


def test_children_die_with_the_supervisor():
    with running_service(tiny_bundle(), *FLAGS) as service:
        children = service.children()
        workers = service.children(children["HTTP server"])
        service.process.kill()
        service.process.wait(PATIENCE_SECONDS)
        everyone = [*children.values(), *workers.values()]
        wait_until(lambda: not any(_is_alive(pid) for pid in everyone), "all are gone")


def _is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(") ", 1)[1][0] != "Z"
    except OSError:
        return False


def test_several_models(tmp_path):
    bundles = tmp_path / "bundles"
    publish_tiny_bundle(bundles, "chars", kind="char", vocab_size=40)
    publish_tiny_bundle(bundles, "words", kind="word", vocab_size=20)
    with running_service(bundles) as service:
        listed = service.get("/v1/models").json()["data"]
        assert [model["id"] for model in listed] == ["chars", "words"]
        assert service.complete(max_tokens=1)["model"] == "chars"
        text = "In Zanzibar we walked, unknowingly."
        for model in ("chars", "words"):
            body = service.complete(model=model, prompt=text, echo=True, logprobs=0, max_tokens=5)
            choice = body["choices"][0]
            assert body["model"] == model
            assert choice["text"].startswith(text)
            logprobs = choice["logprobs"]
            pairs = zip(logprobs["tokens"], logprobs["text_offset"], strict=True)
            for token, offset in pairs:
                if not token.startswith("<|"):
                    assert choice["text"][offset:].startswith(token)


def run_service(*flags, **variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FORETOKEN_")}
    return subprocess.run(
        [sys.executable, "-m", "service", *flags],
        cwd=PROJECT,
        env=environment | variables,
        capture_output=True,
        text=True,
        timeout=PATIENCE_SECONDS,
        check=False,
    )


def test_check():
    result = run_service("--check", "--bundles", str(tiny_bundle()))
    assert result.returncode == 0
    assert "bpe@1" in result.stdout


@pytest.mark.parametrize(
    ("flags", "variables", "words"),
    [
        (("--port", "99999"), {}, ["--port", "99999", "65535"]),
        ((), {"FORETOKEN_MAX_QUEUE": "-1"}, ["FORETOKEN_MAX_QUEUE", "-1", "from 0"]),
        ((), {"FORETOKEN_MAX_QUEU": "1"}, ["FORETOKEN_MAX_QUEU", "no setting"]),
        (("--bundles", "/nowhere"), {}, ["no bundle", "/nowhere"]),
    ],
)
def test_what_cannot_start_says_why(flags, variables, words):
    result = run_service(*flags, **variables)
    assert result.returncode == 2
    assert "Traceback" not in result.stderr
    for word in words:
        assert word in result.stderr


def test_a_port_in_use_is_named():
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        result = run_service("--bundles", str(tiny_bundle()), "--port", str(port))
    assert result.returncode == 2
    assert f"port {port}" in result.stderr


def test_a_damaged_bundle_is_refused(tmp_path):
    directory = publish_tiny_bundle(tmp_path / "bundles", "tiny")
    network = directory / "1" / "network.tflite"
    network.chmod(0o644)
    network.write_bytes(network.read_bytes()[:-100])
    result = run_service("--bundles", str(directory))
    assert result.returncode == 2
    assert "network.tflite" in result.stderr
    assert "Traceback" not in result.stderr


def test_an_engine_that_cannot_start_ends_the_service(tmp_path):
    directory = publish_tiny_bundle(tmp_path / "bundles", "tiny")
    manifest = directory / "1" / "bundle.json"
    record = json.loads(manifest.read_text())
    record["self_check"]["logits"][0] += 5.0
    manifest.chmod(0o644)
    manifest.write_text(json.dumps(record))
    from model.bundle.write import write_checksums

    write_checksums(directory / "1")
    result = run_service("--bundles", str(directory), "--port", "0")
    assert result.returncode == 1
    assert "answers otherwise" in result.stderr
    assert "Traceback" not in result.stderr


def test_threads_do_not_pile_up(service):
    """Every connection is answered, more of them than there are places."""
    results = []

    def ask():
        answer = requests.post(
            f"{service.url}/v1/completions",
            json={"prompt": "x", "max_tokens": 2},
            timeout=PATIENCE_SECONDS,
        )
        results.append(answer.status_code)

    threads = [threading.Thread(target=ask) for _ in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(results) == 40
    assert set(results) <= {200, 503}
    assert 200 in results
