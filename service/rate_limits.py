"""Requests and tokens per minute of each client, counted in memory or in Redis (``limits``).

A client's minute begins with its first request, and the next one with the first after it. A request
counts when it arrives; tokens count when it ends, so that the one that crosses the limit is still
answered.
"""

from __future__ import annotations

import hashlib
import logging
import math
import time
from dataclasses import dataclass
from functools import cached_property

from limits import RateLimitItem, RateLimitItemPerMinute
from limits.errors import StorageError
from limits.storage import Storage, storage_from_string
from limits.strategies import FixedWindowRateLimiter

from service.errors import ApiError
from service.settings import Settings

logger = logging.getLogger(__name__)

#: A Redis server that takes longer than this, in seconds, counts as gone.
_REDIS_TIMEOUT_SECONDS = 0.5


@dataclass(frozen=True)
class _Rate:
    """One of the two: what is counted, and how much of it a minute may have."""

    unit: str
    item: RateLimitItem


class RateLimits:
    """The limits of a service; none are checked unless configured.

    Args:
        settings: ``requests_per_minute``, ``tokens_per_minute``, ``rate_limit_storage``.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._requests = _rate("requests", settings.requests_per_minute)
        self._tokens = _rate("tokens", settings.tokens_per_minute)
        self._rates = [rate for rate in (self._requests, self._tokens) if rate is not None]

    @property
    def active(self) -> bool:
        """Whether there is any limit."""
        return bool(self._rates)

    @cached_property
    def _counts(self) -> FixedWindowRateLimiter:
        """Made when first needed, in the process that counts."""
        url = self._settings.rate_limit_storage
        options: dict[str, float] = {}
        if not url.startswith("memory:"):
            options = dict.fromkeys(
                ("socket_timeout", "socket_connect_timeout"), _REDIS_TIMEOUT_SECONDS
            )
        storage = storage_from_string(url, wrap_exceptions=True, **options)
        assert isinstance(storage, Storage)
        return FixedWindowRateLimiter(storage)

    def admit(self, client: str) -> None:
        """Counts a request of ``client``.

        Raises:
            ApiError: ``rate_limit_exceeded``, with when to come back.
        """
        try:
            if self._tokens is not None and not self._counts.test(self._tokens.item, client):
                raise self._refusal(self._tokens, client)
            if self._requests is not None and not self._counts.hit(self._requests.item, client):
                raise self._refusal(self._requests, client)
        except StorageError as error:
            _log_lost_storage(error)

    def charge(self, client: str, num_tokens: int) -> None:
        """Counts tokens that a request of ``client`` has used."""
        if self._tokens is None or num_tokens == 0:
            return
        try:
            self._counts.hit(self._tokens.item, client, cost=num_tokens)
        except StorageError as error:
            _log_lost_storage(error)

    def headers(self, client: str) -> dict[str, str]:
        """``x-ratelimit-{limit,remaining,reset}-{requests,tokens}``; resets in whole seconds."""
        headers = {}
        try:
            for rate in self._rates:
                reset_at, remaining = self._counts.get_window_stats(rate.item, client)
                seconds = math.ceil(max(0.0, reset_at - time.time()))
                headers[f"x-ratelimit-limit-{rate.unit}"] = str(rate.item.amount)
                headers[f"x-ratelimit-remaining-{rate.unit}"] = str(max(0, remaining))
                headers[f"x-ratelimit-reset-{rate.unit}"] = str(seconds)
        except StorageError as error:
            _log_lost_storage(error)
        return headers

    def _refusal(self, rate: _Rate, client: str) -> ApiError:
        reset_at, _ = self._counts.get_window_stats(rate.item, client)
        seconds = min(max(0.001, reset_at - time.time()), 60.0)
        return ApiError(
            "rate_limit_exceeded",
            f"{rate.item.amount} {rate.unit} per minute are allowed, and they are used up; "
            f"try again in {math.ceil(seconds)} s",
            headers={
                "Retry-After": str(math.ceil(seconds)),
                "retry-after-ms": str(math.ceil(seconds * 1000)),
            },
        )


def client_name(api_key: str | None, address: str | None) -> str:
    """Who is counted: the API key, as a digest that may be stored, or else the peer's address."""
    if api_key:
        return "key-" + hashlib.sha256(api_key.encode("utf-8", "replace")).hexdigest()[:32]
    return f"address-{address or 'unknown'}"


def _rate(unit: str, amount: int) -> _Rate | None:
    if amount == 0:
        return None
    return _Rate(unit, RateLimitItemPerMinute(amount, namespace=f"foretoken-{unit}"))


def _log_lost_storage(error: StorageError) -> None:
    logger.warning("rates cannot be counted, nothing is refused: %s", error.storage_error)
