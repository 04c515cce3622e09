"""SHA256SUMS: the digest of every other file of a bundle, in the format of ``sha256sum -c``."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import Path

from model.errors import BundleCorruptError

CHECKSUMS_FILE = "SHA256SUMS"

#: What a file of a bundle may be called: it lies in the bundle's directory itself.
FILE_NAME_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9._-]{0,127}$"

_LINE = re.compile(r"([0-9a-f]{64}) [ *](.+)")


def file_digest(path: Path) -> str:
    """SHA-256 of the bytes of ``path``, 64 hexadecimal digits.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def format_checksums(digests: Mapping[str, str]) -> str:
    """The text of SHA256SUMS for ``digests``, file name to digest, sorted by name."""
    return "".join(f"{digests[name]}  {name}\n" for name in sorted(digests))


def read_checksums(directory: Path) -> dict[str, str]:
    """File name to digest, as listed in the SHA256SUMS of ``directory``.

    Raises:
        BundleCorruptError: the file is missing or unreadable, or a line is no digest and plain
            file name, or a name is listed twice.
    """
    path = directory / CHECKSUMS_FILE
    try:
        text = path.read_bytes().decode("ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise BundleCorruptError(f"{path} cannot be read: {error}") from error
    if not text.endswith("\n"):
        raise BundleCorruptError(f"{path} is truncated: its last line has no end")
    digests: dict[str, str] = {}
    for number, line in enumerate(text.splitlines(), start=1):
        match = _LINE.fullmatch(line)
        if match is None or re.fullmatch(FILE_NAME_PATTERN, match[2]) is None:
            raise BundleCorruptError(
                f"{path}, line {number}: expected a digest and a file name, found {line[:200]!r}"
            )
        if match[2] in digests:
            raise BundleCorruptError(f"{path}, line {number}: {match[2]} is listed twice")
        digests[match[2]] = match[1]
    return digests


def verify_checksums(directory: Path, digests: Mapping[str, str]) -> None:
    """Checks that every file of ``digests`` is in ``directory`` with exactly those bytes.

    Raises:
        BundleCorruptError: a file is missing, unreadable or altered; names it.
    """
    for name, expected in digests.items():
        path = directory / name
        if not path.is_file():
            raise BundleCorruptError(f"{path} is missing, though {CHECKSUMS_FILE} lists it")
        try:
            found = file_digest(path)
        except OSError as error:
            raise BundleCorruptError(f"{path} cannot be read: {error}") from error
        if found != expected:
            raise BundleCorruptError(
                f"{path} was altered or truncated: its SHA-256 is {found[:12]}..., "
                f"{CHECKSUMS_FILE} says {expected[:12]}... Restore it, or publish it again."
            )
