"""Keeps native libraries that cannot be told to be quiet from writing to standard error."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path


@contextlib.contextmanager
def native_stderr_silenced() -> Iterator[None]:
    """Drops what anything in this process writes to standard error meanwhile."""
    sys.stderr.flush()
    kept = os.dup(2)
    silence_native_stderr()
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def silence_native_stderr() -> None:
    """From here on standard error leads nowhere. Fit to be called as the last act of a process."""
    with Path(os.devnull).open("wb") as nothing:
        os.dup2(nothing.fileno(), 2)
