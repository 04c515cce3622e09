"""What is answered ahead of all others, and what is not: nothing that has to be waited for."""

import socket

import pytest

from service.express import is_express, is_whole, received


@pytest.mark.parametrize(
    "request_line",
    [
        "GET /health HTTP/1.1",
        "HEAD /health HTTP/1.0",
        "GET /ready HTTP/1.1",
        "GET /metrics?name=x HTTP/1.1",
    ],
)
def test_questions_of_operators_are(request_line):
    assert is_express(f"{request_line}\r\nHost: x\r\nUser-Agent: probe\r\n\r\n".encode())


@pytest.mark.parametrize(
    "request_text",
    [
        "",
        "GET /health HTTP/1.1\r\nHost: x\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET /health HTTP/1.1\r\n\r\n",
        "GET /health HTTP/1.1\r\nhost: x\r\ncontent-length: 3\r\n\r\n",
        "GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding : chunked\r\n\r\n",
        "GET /healthy HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST /health HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET  /health HTTP/1.1\r\nHost: x\r\n\r\n",
    ],
)
def test_everything_else_is_not(request_text):
    assert not is_express(request_text.encode())


def test_looking_takes_nothing_away_and_waits_for_nothing():
    one, other = socket.socketpair()
    with one, other:
        assert received(one) == b""
        other.sendall(b"GET /")
        assert received(one) == received(one) == b"GET /"
    assert received(one) == b""


@pytest.mark.parametrize(
    ("request_text", "whole"),
    [
        ("GET / HTTP/1.1\r\nHost: x\r\n\r\n", True),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}", True),
        ("POST / HTTP/1.1\r\nhost: x\r\ncontent-length:2\r\nuser-agent: y\r\n\r\n{}", True),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n{}", False),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n", False),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 999999\r\n\r\n{}", False),
        ("POST / HTTP/1.1\r\nHost: x\r\nContent-Length : 9\r\n\r\n{}", False),
        ("POST / HTTP/1.1\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n{}", False),
        ("POST / HTTP/1.1\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n{}", False),
        ("POST / HTTP/1.1\r\nHost: x\r\n", False),
        ("", False),
    ],
)
def test_whole_is_what_nothing_has_to_be_waited_for(request_text, whole):
    assert is_whole(request_text.encode()) == whole
