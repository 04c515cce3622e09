"""Failures that concern more than the text at hand."""

from __future__ import annotations

from pathlib import Path

from model.errors import FetchError


class ServerUnavailableError(FetchError):
    """A server cannot be reached, or keeps failing; its other files will not come either."""


class DiskRefusedError(FetchError):
    """The disk takes no more; says what to do."""

    def __init__(self, path: Path, error: OSError) -> None:
        super().__init__(
            f"cannot write {path}: {error.strerror or error}. Free some space or choose another "
            "--to, and start the same command again: it goes on where it was"
        )
