"""Far more requests than a service can take: the rest are refused, nothing is lost, it goes on."""

import json
import random
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import event_stream
import pytest
import requests
from running_service import PATIENCE_SECONDS, RunningService, running_service, wait_until
from tiny_bundle import tiny_bundle

NUM_REQUESTS = 400
NUM_CLIENTS = 60
PLACES, QUEUE = 3, 3
#: Far from a leak of every request's threads, streams and answers; they take some MB at first.
MAX_GROWTH_MB = 60

Body = dict[str, Any]


@pytest.fixture(scope="module")
def small_service() -> Iterator[RunningService]:
    """Room for a tenth of the clients."""
    flags = ("--max-running", str(PLACES), "--max-queue", str(QUEUE))
    with running_service(tiny_bundle(), *flags) as service:
        yield service


class HealthWatch:
    """Asks for ``/health`` again and again, on a connection of its own."""

    def __init__(self, service: RunningService) -> None:
        self.statuses: list[int] = []
        self._url = service.url + "/health"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "HealthWatch":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        with requests.Session() as session:
            while not self._end.wait(0.02):
                answer = session.get(self._url, timeout=PATIENCE_SECONDS)
                self.statuses.append(answer.status_code)


def text_of(answer: requests.Response) -> str:
    """The completion, streamed or not."""
    if not answer.headers["Content-Type"].startswith("text/event-stream"):
        return answer.json()["choices"][0]["text"]
    (choice,) = event_stream.join(event_stream.read(answer))
    return choice["text"]


def flood(service: RunningService, bodies: list[Body]) -> list[requests.Response]:
    """Sends all of ``bodies``, as many at a time as there are clients; every answer."""

    def ask(body: Body) -> requests.Response:
        return requests.post(service.url + "/v1/completions", json=body, timeout=PATIENCE_SECONDS)

    with ThreadPoolExecutor(NUM_CLIENTS) as pool:
        return list(pool.map(ask, bodies))


def test_under_ten_times_the_load(small_service: RunningService) -> None:
    service, rng = small_service, random.Random(3)
    kinds = [
        {"prompt": "In Italy", "seed": seed, "max_tokens": 60, "ignore_eos": True}
        for seed in range(5)
    ]
    alone = {kind["seed"]: service.complete(**kind)["choices"][0]["text"] for kind in kinds}
    bodies = [rng.choice(kinds) | {"stream": rng.random() < 0.5} for _ in range(NUM_REQUESTS)]
    flood(service, bodies[:NUM_CLIENTS])  # every thread there will be has had something to do
    before = service.resident_mb()
    with HealthWatch(service) as health:
        answers = flood(service, bodies)
    assert set(health.statuses) == {200}
    for body, answer in zip(bodies, answers, strict=True):
        if answer.status_code == 200:
            assert text_of(answer) == alone[body["seed"]]
        else:
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "overloaded")
            assert 1 <= int(answer.headers["Retry-After"]) <= 120
    statuses = Counter(answer.status_code for answer in answers)
    assert statuses[200] >= PLACES + QUEUE
    assert statuses[503] > 0
    assert service.resident_mb() - before < MAX_GROWTH_MB
    # The clients have gone, and with them the overload.
    wait_until(lambda: service.load() == (0, 0), "nothing runs or waits any more")
    for kind in kinds:
        assert service.complete(**kind)["choices"][0]["text"] == alone[kind["seed"]]


def test_clients_that_hang_up_in_an_overload_leave_it_free(small_service: RunningService) -> None:
    """Every place and the whole queue are given up at once; the next request is served."""
    service = small_service
    host, port = service.url.removeprefix("http://").split(":")
    body = json.dumps({"prompt": "In", "max_tokens": 4000, "ignore_eos": True}).encode()
    head = b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(body)
    connections = []
    for _ in range(NUM_CLIENTS):
        connection = socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS)
        connection.sendall(head + body)
        connections.append(connection)
    wait_until(lambda: service.load() == (PLACES, QUEUE), "it is full")
    for connection in connections:
        connection.close()
    wait_until(lambda: service.load() == (0, 0), "nothing runs or waits any more")
    assert service.complete(prompt="In", max_tokens=3)["usage"]["completion_tokens"] <= 3


def test_the_counts_add_up(small_service: RunningService) -> None:
    """What was refused and what was answered is in the metrics, each once."""
    service = small_service

    def count(name: str) -> float:
        lines = service.get("/metrics").text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith(name))

    total = 'foretoken_requests_total{endpoint="/v1/completions"'
    refused = 'foretoken_requests_rejected_total{reason="overloaded"'
    before = count(total), count(refused)
    answers = flood(service, [{"prompt": "In", "max_tokens": 200, "ignore_eos": True}] * 120)
    time.sleep(0.1)
    num_refused = sum(answer.status_code == 503 for answer in answers)
    wait_until(lambda: count(total) == before[0] + 120, "every request is counted")
    assert count(refused) == before[1] + num_refused
