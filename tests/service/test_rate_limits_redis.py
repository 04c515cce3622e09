"""Rates counted in a real Redis: shared by services and workers; its loss refuses nobody."""

import re
import shutil
import socket
import subprocess
import time

import pytest
import requests
from running_service import running_service, wait_until
from tiny_bundle import tiny_bundle

pytestmark = pytest.mark.skipif(
    shutil.which("redis-server") is None,
    reason="redis-server is not installed (Debian and Ubuntu: apt install redis-server)",
)


class Redis:
    """A Redis server on a port of its own, with nothing on disk."""

    def __init__(self) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:
            self.port = server.getsockname()[1]
        self.url = f"redis://127.0.0.1:{self.port}"
        self.start()

    def start(self) -> None:
        command = ["redis-server", "--port", str(self.port), "--bind", "127.0.0.1"]
        self.process = subprocess.Popen(
            [*command, "--save", "", "--appendonly", "no"], stdout=subprocess.DEVNULL
        )
        wait_until(self._answers, "Redis answers")

    def _answers(self) -> bool:
        with socket.socket() as client:
            return client.connect_ex(("127.0.0.1", self.port)) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@pytest.fixture(scope="module")
def redis():
    server = Redis()
    yield server
    server.kill()


@pytest.fixture(scope="module")
def pair(redis):
    """Two services that count in one Redis, five requests a minute; the first has two workers."""
    flags = ("--requests-per-minute", "5", "--rate-limit-storage", redis.url)
    with (
        running_service(tiny_bundle(), "--workers", "2", *flags) as one,
        running_service(tiny_bundle(), *flags) as other,
    ):
        yield one, other


def ask(service) -> requests.Response:
    """A request on a connection of its own, so that any worker may answer."""
    return requests.post(
        f"{service.url}/v1/completions", json={"prompt": "In", "max_tokens": 1}, timeout=30
    )


def test_services_and_workers_share_a_limit_and_bear_the_loss_of_redis(pair, redis):
    one, other = pair
    remaining = [int(ask(one).headers["x-ratelimit-remaining-requests"]) for _ in range(3)]
    remaining += [int(ask(other).headers["x-ratelimit-remaining-requests"]) for _ in range(2)]
    assert remaining == [4, 3, 2, 1, 0]
    for service in pair:
        refused = ask(service)
        assert refused.status_code == 429
        assert refused.json()["error"]["code"] == "rate_limit_exceeded"
        assert 1 <= int(refused.headers["Retry-After"]) <= 60

    redis.kill()
    began = time.monotonic()
    for service in pair:
        answer = ask(service)
        assert answer.status_code == 200
        assert not [name for name in answer.headers if name.startswith("x-ratelimit")]
        assert re.search("rates cannot be counted, nothing is refused", service.log())
    assert time.monotonic() - began < 20

    redis.start()
    counts = [int(ask(service).headers["x-ratelimit-remaining-requests"]) for service in pair]
    assert counts == [4, 3]  # counted anew: this Redis keeps nothing on disk
