"""One source into its partial file: gone on with after a cut, tried again after a pause."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.message import Message

import requests
import urllib3

from model.errors import FetchError
from training.fetch.errors import ServerUnavailableError
from training.fetch.partial_file import PartialFile
from training.fetch.politeness import PoliteConnection, retry_after_seconds
from training.fetch.sources import Source

#: A longer wait, asked for by a server, is left to the person.
MAX_ASKED_WAIT_SECONDS = 600.0
#: A text is cleaned in memory.
MAX_TEXT_BYTES = 256 * 2**20
_PIECE_BYTES = 2**16
#: Fewer bytes than this in the time that a server may be silent count as silence.
_LEAST_BYTES = 1024
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504)
_CONTENT_RANGE = re.compile(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)")

#: Is told how many bytes are there, and of how many, if that is known.
ShowBytes = Callable[[int, int | None], None]


class _TryAgainError(Exception):
    """An attempt failed in a way that may pass."""

    def __init__(self, reason: str, wait_seconds: float | None = None) -> None:
        super().__init__(reason)
        self.wait_seconds = wait_seconds


@dataclass(frozen=True)
class Download:
    """What a source gave.

    Attributes:
        sha256: of its bytes, hexadecimal.
        num_bytes: how many.
        charset: that the server named, if any.
    """

    sha256: str
    num_bytes: int
    charset: str | None


def download(
    source: Source,
    part: PartialFile,
    connection: PoliteConnection,
    *,
    max_attempts: int,
    show: ShowBytes,
) -> Download:
    """Fetches what is missing of ``source`` into ``part``.

    Args:
        source: what to fetch.
        part: what there is of it; complete when this returns.
        connection: to the web.
        max_attempts: in a row that bring nothing.
        show: is told of every piece.

    Raises:
        ServerUnavailableError: it did not come in ``max_attempts``, or is to come much later.
        FetchError: it is not there, not what it should be, or the disk refuses.
    """
    resumed = part.size > 0
    charset = _receive(source, part, connection, max_attempts, show)
    if source.sha256 not in (None, part.sha256()) and resumed:
        # Two halves of different versions; a server that names no versions cannot tell.
        part.discard()
        charset = _receive(source, part, connection, max_attempts, show)
    sha256 = part.sha256()
    if source.sha256 not in (None, sha256):
        part.discard()
        raise FetchError(
            f"{source.given}: wrong checksum: what {source.url} serves has sha256 {sha256}, the "
            f"list says {source.sha256}. If the new text is welcome, change the list"
        )
    return Download(sha256, part.size, charset)


def _receive(
    source: Source,
    part: PartialFile,
    connection: PoliteConnection,
    max_attempts: int,
    show: ShowBytes,
) -> str | None:
    """Attempts until ``part`` is complete; the charset that the server named."""
    num_failures = 0
    while True:
        size_before = part.size
        try:
            return _attempt(source, part, connection, show)
        except _TryAgainError as error:
            num_failures = 1 if part.size > size_before else num_failures + 1
            wait = error.wait_seconds or connection.backoff_seconds(num_failures)
            if wait > MAX_ASKED_WAIT_SECONDS:
                raise ServerUnavailableError(
                    f"{source.given}: {error}, and to wait {wait:.0f} s; start the same command "
                    "again after that"
                ) from error
            if num_failures >= max_attempts:
                raise ServerUnavailableError(
                    f"{source.given}: {source.url}: {error}; tried {num_failures} times. Check "
                    "the connection or choose another --mirror, and start the same command again: "
                    f"it goes on at byte {part.size}"
                ) from error
            connection.wait(str(error), wait)


def _attempt(
    source: Source, part: PartialFile, connection: PoliteConnection, show: ShowBytes
) -> str | None:
    headers = part.range_headers(source.url, is_checked=source.sha256 is not None)
    try:
        response = connection.get(source.url, headers)
    except requests.TooManyRedirects as error:
        raise FetchError(f"{source.given}: {source.url} redirects without end") from error
    except (requests.ConnectionError, requests.Timeout) as error:
        raise _TryAgainError(_reason(error)) from error
    except requests.RequestException as error:
        raise FetchError(f"{source.given}: {source.url} cannot be used: {error}") from error
    with response:
        if response.status_code == 416 and _total(response) == part.size:
            return None
        _check_status(source, response, part)
        total = _begin(source, response, part)
        _check_kind(source, response, total)
        for piece in _pieces(response, connection.timeout_seconds):
            part.append(piece)
            show(part.size, total)
            if source.is_text and part.size > MAX_TEXT_BYTES:
                raise _too_long(source.given)
        if total is not None and part.size != total:
            raise _TryAgainError(f"{part.size} of {total} bytes came")
        return _charset(response)


def _check_status(source: Source, response: requests.Response, part: PartialFile) -> None:
    status = response.status_code
    if status == 416:
        part.discard()
        raise _TryAgainError("the text has changed on the server")
    if status in _TRY_AGAIN:
        raise _TryAgainError(
            f"{source.host} says {status} {response.reason}", retry_after_seconds(response)
        )
    if status in (404, 410):
        raise FetchError(
            f"{source.given}: {response.url} is not there ({status}); check the number or the "
            "address, or choose another --mirror"
        )
    if status in (401, 403):
        raise FetchError(
            f"{source.given}: {source.host} refuses ({status}); it may not welcome programs. "
            "Choose another --mirror and a longer --pause"
        )
    if status not in (200, 206):
        raise FetchError(f"{source.given}: {response.url} says {status} {response.reason}")


def _begin(source: Source, response: requests.Response, part: PartialFile) -> int | None:
    """Makes ``part`` ready for the body; the size it will have in the end, if that is known."""
    if response.status_code == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if found is None or found[1] != str(part.size):
            part.discard()
            raise _TryAgainError("the server sent another part than the one asked for")
        return _total(response)
    is_encoded = response.headers.get("Content-Encoding", "identity") != "identity"
    part.begin(source.url, None if is_encoded else _version(response))
    length = response.headers.get("Content-Length", "")
    return int(length) if length.isdigit() and not is_encoded else None


def _version(response: requests.Response) -> str | None:
    """What names this version of the text in ``If-Range``: a strong ETag, else the date."""
    tag = response.headers.get("ETag", "")
    return tag if tag.startswith('"') else response.headers.get("Last-Modified")


def _total(response: requests.Response) -> int | None:
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    return int(found[2]) if found and found[2].isdigit() else None


def _charset(response: requests.Response) -> str | None:
    message = Message()
    message["Content-Type"] = response.headers.get("Content-Type", "")
    return message.get_content_charset()


def _check_kind(source: Source, response: requests.Response, total: int | None) -> None:
    if not source.is_text:
        return
    kind = response.headers.get("Content-Type", "").partition(";")[0].strip().lower()
    if kind in ("text/html", "application/xhtml+xml"):
        raise FetchError(
            f"{source.given}: {response.url} is a web page, not a plain text; give the address of "
            "the text"
        )
    if total is not None and total > MAX_TEXT_BYTES:
        raise _too_long(source.given)


def _too_long(given: str) -> FetchError:
    return FetchError(
        f"{given} is longer than {MAX_TEXT_BYTES // 2**20} MiB, the most that is cleaned; fetch it "
        "by other means, or in parts"
    )


def _pieces(response: requests.Response, timeout_seconds: float) -> Iterator[bytes]:
    """The body as it arrives.

    Raises:
        _TryAgainError: it breaks off, or comes so slowly that it would never end.
    """
    since, received = time.monotonic(), 0
    try:
        while piece := response.raw.read1(_PIECE_BYTES, decode_content=True):
            yield piece
            received += len(piece)
            if time.monotonic() - since > timeout_seconds:
                if received < _LEAST_BYTES:
                    raise _TryAgainError(f"only {received} bytes in {timeout_seconds:g} s")
                since, received = time.monotonic(), 0
    except (urllib3.exceptions.HTTPError, OSError) as error:
        raise _TryAgainError(_reason(error)) from error


def _reason(error: Exception) -> str:
    """What went wrong, in words: a library's error holds its own name for every layer."""
    text = f"{type(error).__name__} {error}".lower()
    if "timed out" in text or "timeout" in text:
        return "the server was silent for too long"
    if "certificate" in text:
        return "the certificate of the server cannot be verified"
    if "resolve" in text or "name or service" in text:
        return "the name of the server is not known"
    if "refused" in text:
        return "the server refuses connections"
    return "the connection broke off"
