"""Large bodies are worked on one after the other; small ones never wait; nobody waits for ever."""

import socket
import threading

import pytest
from running_service import running_service, wait_until
from tiny_bundle import tiny_bundle

from service.errors import ApiError
from service.large_bodies import LargeBodies

LARGE = {"prompt": "One day " * 100_000}


@pytest.fixture(scope="module")
def small_service():
    """Bodies of a megabyte at most."""
    flags = ("--max-body-bytes", "1048576", "--queue-timeout-s", "5")
    with running_service(tiny_bundle(), *flags) as service:
        yield service


def half_a_body(service, num_bytes):
    """A connection on which all but the last byte of a body was sent."""
    host, port = service.url.removeprefix("http://").split(":")
    line = socket.create_connection((host, int(port)), 30)
    head = f"POST /v1/tokenize HTTP/1.1\r\nHost: x\r\nContent-Length: {num_bytes}\r\n\r\n"
    line.sendall(head.encode() + b'{"prompt":""}'.ljust(num_bytes - 1))
    return line


def test_turns_are_taken_one_after_the_other():
    bodies = LargeBodies(max_body_bytes=100, timeout_seconds=30)
    first, order = bodies.take_turn(60), []

    def work():
        turn = bodies.take_turn(60)
        order.append("second")
        turn.end()

    thread = threading.Thread(target=work)
    thread.start()
    small = bodies.take_turn(40)  # for which there is room beside the first
    order.append("small")
    first.end()
    thread.join(30)
    assert order == ["small", "second"]
    small.end()
    small.end()  # once is enough, and twice no harm
    bodies.take_turn(100).end()
    with bodies.held(100):
        pass


def test_whoever_waits_too_long_is_refused():
    bodies = LargeBodies(max_body_bytes=100, timeout_seconds=0.01)
    turn = bodies.take_turn(60)
    with pytest.raises(ApiError) as refused:
        bodies.take_turn(60)
    assert (refused.value.status, refused.value.code) == (503, "overloaded")
    turn.end()
    bodies.take_turn(60).end()


def test_many_large_bodies_at_once_are_all_answered(small_service):
    answers = []

    def ask():
        answers.append(small_service.post("/v1/tokenize", LARGE).status_code)

    threads = [threading.Thread(target=ask) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert set(answers) <= {200, 503}
    assert 200 in answers
    assert small_service.post("/v1/tokenize", LARGE).status_code == 200


def test_slow_senders_take_no_turn_and_bounded_memory(small_service):
    lines = [half_a_body(small_service, 1_048_576) for _ in range(8)]
    try:
        assert small_service.post("/v1/tokenize", LARGE).status_code == 200
        lines += [half_a_body(small_service, 1_048_576) for _ in range(8)]

        def full():
            return small_service.post("/v1/tokenize", LARGE).status_code == 503

        wait_until(full, "all room is taken")
        refused = small_service.post("/v1/tokenize", LARGE)
        assert refused.json()["error"]["code"] == "overloaded"
        assert 1 <= int(refused.headers["Retry-After"]) <= 120
        assert small_service.complete(prompt="One day", max_tokens=2)["choices"]
    finally:
        for line in lines:
            line.close()
    wait_until(
        lambda: small_service.post("/v1/tokenize", LARGE).status_code == 200, "there is room again"
    )


def test_a_large_request_that_runs_holds_nobody_up(small_service):
    """Its turn ends when the engine works on it."""
    body = {"prompt": ["a " * 8000] * 30, "max_tokens": 4096, "ignore_eos": True, "stream": True}
    with small_service.post("/v1/completions", body, stream=True) as answer:
        assert answer.status_code == 200, answer.text
        wait_until(lambda: small_service.load()[0] > 0, "it runs")
        assert small_service.post("/v1/tokenize", LARGE).status_code == 200
        assert small_service.load()[0] > 0
    wait_until(lambda: small_service.load() == (0, 0), "the client's leaving is noticed")
