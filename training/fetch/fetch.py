"""The command ``fetch``: sources into a folder of texts, one after the other, each only once.

A text appears in the folder complete and cleaned, or not at all. Stopped at any moment, the next
run goes on with the byte that is missing.
"""

from __future__ import annotations

import fcntl
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from model.errors import FetchError
from training.fetch.book_facts import BookFacts, read_facts
from training.fetch.download import download
from training.fetch.errors import DiskRefusedError, ServerUnavailableError
from training.fetch.fetched import FetchedFolder, FetchedText
from training.fetch.gutenberg_text import take_apart
from training.fetch.partial_file import PartialFile
from training.fetch.politeness import PoliteConnection
from training.fetch.progress import FetchProgress
from training.fetch.sources import Source
from training.fetch.text_encoding import decode_text


@dataclass(frozen=True)
class FetchSettings:
    """How to fetch.

    Attributes:
        folder: where the texts go.
        pause_seconds: least time between two requests.
        timeout_seconds: longest silence of a server.
        max_attempts: in a row that bring nothing, for one text.
    """

    folder: Path
    pause_seconds: float
    timeout_seconds: float
    max_attempts: int


def fetch(sources: Sequence[Source], settings: FetchSettings, progress: FetchProgress) -> None:
    """Fetches what is not there yet of ``sources``.

    A text that cannot be had does not keep the others from coming.

    Raises:
        FetchError: some could not be had, or the disk refuses.
    """
    folder = FetchedFolder(settings.folder)
    unavailable: set[str] = set()
    missing: list[str] = []
    with (
        _alone_in(settings.folder),
        PoliteConnection(
            settings.pause_seconds, settings.timeout_seconds, progress.waiting
        ) as connection,
    ):
        for source in sources:
            if folder.holds(source):
                progress.was_there(source.name)
            elif source.host in unavailable:
                missing.append(source.given)
            else:
                try:
                    _fetch_one(source, folder, connection, settings.max_attempts, progress)
                except DiskRefusedError:
                    raise
                except FetchError as error:
                    if isinstance(error, ServerUnavailableError):
                        unavailable.add(source.host)
                    missing.append(source.given)
                    progress.failed(str(error))
    if missing:
        raise FetchError(
            f"{len(missing)} of {len(sources)} could not be fetched: {' '.join(missing)}; start "
            "the same command again to try only these"
        )


def _fetch_one(
    source: Source,
    folder: FetchedFolder,
    connection: PoliteConnection,
    max_attempts: int,
    progress: FetchProgress,
) -> None:
    part = PartialFile(folder.folder, source.name)
    served = download(
        source,
        part,
        connection,
        max_attempts=max_attempts,
        show=lambda done, total: progress.receiving(source.name, done, total),
    )
    content = part.path.read_bytes()
    facts = BookFacts()
    if source.is_text:
        content, facts = _cleaned(source, content, served.charset)
    text = FetchedText(
        source=source.given,
        url=source.url,
        served_bytes=served.num_bytes,
        served_sha256=served.sha256,
        bytes=len(content),
        sha256=hashlib.sha256(content).hexdigest(),
        title=facts.title,
        author=facts.author,
        date=facts.date,
    )
    folder.add(source.name, content, text)
    part.discard()
    progress.fetched(source.name, text)


def _cleaned(source: Source, content: bytes, charset: str | None) -> tuple[bytes, BookFacts]:
    """The UTF-8 bytes of the book in ``content``, and what its header says of it."""
    text = decode_text(content, charset, source.given)
    facts = BookFacts()
    if parts := take_apart(text):
        text, facts = parts.book, read_facts(parts.header)
    if not text.strip():
        raise FetchError(f"{source.given}: {source.url} holds no text")
    return text.encode("utf-8"), facts


@contextmanager
def _alone_in(folder: Path) -> Iterator[None]:
    """Keeps a second run out of ``folder``: two would write into one file."""
    try:
        lock = (folder / ".fetch.lock").open("w")
    except OSError as error:
        raise DiskRefusedError(folder, error) from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise FetchError(f"another fetch is at work in {folder}; wait for its end") from error
        yield
