"""What has arrived of a download: hidden files beside the text it will become."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from training.fetch.errors import DiskRefusedError


class PartialFile:
    """The bytes received so far, and the address and version that they are of.

    Both survive a ``kill -9``: the note is written before the first byte.
    """

    def __init__(self, folder: Path, name: str) -> None:
        """The partial file of the text ``name`` in ``folder``, which exists."""
        self.path = folder / f".{name}.part"
        self._note = folder / f".{name}.part.json"

    @property
    def size(self) -> int:
        """Bytes received."""
        return self.path.stat().st_size if self.path.exists() else 0

    def range_headers(self, url: str, *, is_checked: bool) -> dict[str, str]:
        """Headers that ask ``url`` for what is missing; none to ask for all.

        Args:
            url: where the rest is to come from.
            is_checked: whether a checksum is known; else the rest is asked for only where the
                server named a version (RFC 9110, 13.1.5: ``If-Range``).
        """
        try:
            note = json.loads(self._note.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        version = note.get("version")
        if self.size == 0 or note.get("url") != url or not (version or is_checked):
            return {}
        headers = {"Range": f"bytes={self.size}-"}
        return {**headers, "If-Range": version} if version else headers

    def begin(self, url: str, version: str | None) -> None:
        """Forgets what there is; what follows is of this version of ``url``.

        Raises:
            DiskRefusedError: the disk refuses.
        """
        try:
            self.path.write_bytes(b"")
            self._note.write_text(json.dumps({"url": url, "version": version}), encoding="utf-8")
        except OSError as error:
            raise DiskRefusedError(self.path, error) from error

    def append(self, content: bytes) -> None:
        """Adds what has arrived.

        Raises:
            DiskRefusedError: the disk refuses.
        """
        try:
            with self.path.open("ab") as file:
                file.write(content)
        except OSError as error:
            raise DiskRefusedError(self.path, error) from error

    def sha256(self) -> str:
        """Of the bytes received, hexadecimal."""
        with self.path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()

    def discard(self) -> None:
        """Removes it."""
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
