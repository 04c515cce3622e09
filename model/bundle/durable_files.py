"""Files that survive a crash: written beside, synced, renamed. Knows nothing of bundles."""

from __future__ import annotations

import os
import shutil
from pathlib import Path


def sync_directory(directory: Path) -> None:
    """Makes the entries of ``directory`` (new names, renames) durable.

    Raises:
        OSError: the directory cannot be opened or synced.
    """
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_synced(path: Path, content: bytes) -> None:
    """Writes ``content`` to ``path`` and waits until it is on disk. Not atomic.

    Raises:
        OSError: no room, no permission.
    """
    with path.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())


def copy_synced(source: Path, target: Path) -> None:
    """Copies the bytes of ``source`` to ``target`` and waits until they are on disk. Not atomic.

    Raises:
        OSError: no room, no permission, or ``source`` cannot be read.
    """
    with source.open("rb") as reader, target.open("wb") as writer:
        shutil.copyfileobj(reader, writer, 1 << 20)
        writer.flush()
        os.fsync(writer.fileno())


def replace_file(path: Path, content: bytes, temporary: Path) -> None:
    """Replaces ``path`` by ``content`` so that a reader sees the old or the new, never a mixture.

    ``temporary`` is a path in the same directory; it is gone afterwards.

    Raises:
        OSError: no room, no permission; ``path`` is then unchanged.
    """
    try:
        write_synced(temporary, content)
        temporary.replace(path)
    except OSError:
        temporary.unlink(missing_ok=True)
        raise
    sync_directory(path.parent)
