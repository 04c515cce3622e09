"""``fetched.json``: what a folder was filled with, so that it need not be fetched again."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass
from pathlib import Path

from model.bundle.durable_files import replace_file
from model.errors import FetchError
from training.fetch.errors import DiskRefusedError
from training.fetch.sources import Source

MANIFEST = "fetched.json"
#: Raised when ``fetched.json`` changes its meaning.
FORMAT = 1


@dataclass(frozen=True, kw_only=True)
class FetchedText:
    """A text in the folder, and where it came from.

    Attributes:
        source: as it was asked for.
        url: that served it.
        served_bytes: how many bytes came.
        served_sha256: of these bytes; what a list file may ask for.
        bytes: of the file in the folder.
        sha256: of the file in the folder.
        title: as the text says; None where it does not.
        author: likewise.
        date: of its release, likewise.
    """

    source: str
    url: str
    served_bytes: int
    served_sha256: str
    bytes: int
    sha256: str
    title: str | None
    author: str | None
    date: str | None


class FetchedFolder:
    """A folder of fetched texts and its manifest.

    Attributes:
        folder: where they lie.
    """

    def __init__(self, folder: Path) -> None:
        """Opens the folder, which is made where there is none.

        Raises:
            DiskRefusedError: it cannot be made.
            FetchError: its manifest cannot be read.
        """
        self.folder = folder
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DiskRefusedError(folder, error) from error
        self._texts = self._read()

    def holds(self, source: Source) -> bool:
        """Whether the text of ``source`` is here, unaltered, and of the checksum asked for."""
        text = self._texts.get(source.name)
        if text is None or text.source != source.given:
            return False
        if source.sha256 not in (None, text.served_sha256):
            return False
        path = self.folder / source.name
        return path.is_file() and _sha256(path) == text.sha256

    def add(self, name: str, content: bytes, text: FetchedText) -> None:
        """Saves ``content`` as ``name`` and records it; a reader sees either all of it or nothing.

        Raises:
            DiskRefusedError: the disk refuses.
        """
        self._write(name, content)
        self._texts[name] = text
        record = {key: asdict(value) for key, value in sorted(self._texts.items())}
        document = json.dumps({"format": FORMAT, "texts": record}, indent=2, ensure_ascii=False)
        self._write(MANIFEST, document.encode() + b"\n")

    def _write(self, name: str, content: bytes) -> None:
        path = self.folder / name
        try:
            replace_file(path, content, path.with_name(f".{name}.incoming"))
        except OSError as error:
            raise DiskRefusedError(path, error) from error

    def _read(self) -> dict[str, FetchedText]:
        path = self.folder / MANIFEST
        if not path.exists():
            return {}
        try:
            document = json.loads(path.read_text(encoding="utf-8"))
            if document["format"] != FORMAT:
                raise ValueError(f"its format is {document['format']}, not {FORMAT}")
            return {name: FetchedText(**text) for name, text in document["texts"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise FetchError(
                f"{path} cannot be read ({error}); remove it to fetch all anew"
            ) from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
