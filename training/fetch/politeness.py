"""One connection to the web that waits between requests, and longer where it is asked to."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from types import TracebackType

import requests

from training.provenance import code_version

#: No wait between two attempts is longer, unless a server asks for it.
_MAX_BACKOFF_SECONDS = 60.0
_MAX_REDIRECTS = 5

#: Is told why and how many seconds are waited, before it is waited.
SayWait = Callable[[str, float], None]


def user_agent() -> str:
    """What servers are told about who asks."""
    version = code_version()
    product = "Foretoken" if " " in version else f"Foretoken/{version}"
    return f"{product} (texts to train on; python-requests/{requests.__version__})"


class PoliteConnection:
    """Requests one after the other, ``pause_seconds`` apart; a context manager.

    Args:
        pause_seconds: least time between the starts of two requests.
        timeout_seconds: longest silence of a server.
        say_wait: is told of longer waits.
    """

    def __init__(self, pause_seconds: float, timeout_seconds: float, say_wait: SayWait) -> None:
        self.timeout_seconds = timeout_seconds
        self._pause_seconds = pause_seconds
        self._say_wait = say_wait
        self._next_request = 0.0
        self._session = requests.Session()
        self._session.max_redirects = _MAX_REDIRECTS
        # Compressed answers cannot be gone on with in the middle.
        self._session.headers.update({"User-Agent": user_agent(), "Accept-Encoding": "identity"})

    def get(self, url: str, headers: dict[str, str]) -> requests.Response:
        """The answer to a GET of ``url``, its body not yet read.

        Raises:
            requests.RequestException: there is none.
        """
        time.sleep(max(0.0, self._next_request - time.monotonic()))
        self._next_request = time.monotonic() + self._pause_seconds
        return self._session.get(url, headers=headers, stream=True, timeout=self.timeout_seconds)

    def wait(self, reason: str, seconds: float) -> None:
        """Lets ``seconds`` pass before the next request."""
        self._say_wait(reason, seconds)
        self._next_request = max(self._next_request, time.monotonic() + seconds)

    def backoff_seconds(self, num_failures: int) -> float:
        """The wait after that many failures in a row, from 1: twice as long each time."""
        return min(_MAX_BACKOFF_SECONDS, max(self._pause_seconds, 0.05) * 2.0**num_failures)

    def __enter__(self) -> PoliteConnection:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._session.close()


def retry_after_seconds(response: requests.Response) -> float | None:
    """The wait that ``response`` asks for (RFC 9110, 10.2.3: seconds or a date), if any."""
    value = response.headers.get("Retry-After", "").strip()
    try:
        seconds = float(value)
    except ValueError:
        seconds = _seconds_until(value)
    return max(0.0, seconds) if math.isfinite(seconds) else None


def _seconds_until(date: str) -> float:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return math.nan
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - datetime.now(UTC)).total_seconds()
