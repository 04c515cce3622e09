"""Counting by client; a lost Redis refuses nobody."""

import socket

import pytest

from service.errors import ApiError
from service.rate_limits import RateLimits, client_name
from service.settings import Settings


def test_clients_are_counted_apart():
    limits = RateLimits(Settings(requests_per_minute=1))
    limits.admit("a")
    limits.admit("b")
    with pytest.raises(ApiError, match="1 requests per minute"):
        limits.admit("a")
    assert limits.headers("a")["x-ratelimit-remaining-requests"] == "0"
    assert limits.headers("c")["x-ratelimit-remaining-requests"] == "1"
    assert "x-ratelimit-limit-tokens" not in limits.headers("a")


def test_tokens_count_when_they_are_charged():
    limits = RateLimits(Settings(tokens_per_minute=10))
    limits.admit("a")
    limits.charge("a", 9)
    limits.admit("a")
    limits.charge("a", 500)
    with pytest.raises(ApiError, match="10 tokens per minute"):
        limits.admit("a")
    assert limits.headers("a")["x-ratelimit-remaining-tokens"] == "0"


def test_without_limits_there_is_nothing_to_do():
    limits = RateLimits(Settings())
    assert not limits.active
    assert limits.headers("a") == {}


def test_a_lost_redis_refuses_nobody(caplog):
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    url = f"redis://127.0.0.1:{port}"
    limits = RateLimits(
        Settings(requests_per_minute=1, tokens_per_minute=1, rate_limit_storage=url)
    )
    for _ in range(2):
        limits.admit("a")
        limits.charge("a", 5)
    assert limits.headers("a") == {}
    assert "nothing is refused" in caplog.text


def test_names_do_not_show_keys():
    assert "secret" not in client_name("secret", "1.2.3.4")
    assert client_name("secret", None) != client_name("other", None)
    assert client_name(None, "1.2.3.4") != client_name(None, "1.2.3.5")
