"""Reading UTF-8 text from plain or gzip-compressed files in bounded pieces, or line by line."""

from __future__ import annotations

import codecs
import gzip
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, NoReturn, cast

from model.errors import CorpusError

#: Longest line (``.jsonl``) or field (``.csv``) that is read.
MAX_LINE_BYTES = 64 * 2**20
_PIECE_BYTES = 2**20


def read_pieces(path: Path) -> Iterator[tuple[str, int]]:
    r"""The text of ``path`` in pieces of about a megabyte, ``\r\n`` as ``\n``.

    Yields:
        A piece, and the number of bytes of the file on disk that were read so far.

    Raises:
        CorpusError: the file cannot be read, is broken, binary or no UTF-8; names file and line.
    """
    decoder = codecs.getincrementaldecoder("utf-8-sig")()
    line, held = 1, ""
    with _open(path) as (stream, raw):
        block = stream.read(_PIECE_BYTES)
        _check_start(path, block)
        while True:
            try:
                text = held + decoder.decode(block, final=not block)
            except UnicodeDecodeError as error:
                _refuse_encoding(path, error, line)
            if "\0" in text:
                _refuse_binary(path, line + text[: text.index("\0")].count("\n"))
            held = "\r" if block and text.endswith("\r") else ""
            text = text.removesuffix(held) if held else text
            line += text.count("\n")
            yield text.replace("\r\n", "\n"), raw.tell()
            if not block:
                return
            block = stream.read(_PIECE_BYTES)


def read_lines(path: Path) -> Iterator[tuple[int, str, int]]:
    r"""The lines of ``path``, with their ends.

    Yields:
        The number of the line from 1, the line, and the bytes of the file on disk read so far.

    Raises:
        CorpusError: as ``read_pieces``, or a line is longer than ``MAX_LINE_BYTES``.
    """
    with _open(path) as (stream, raw):
        number = 0
        while line := stream.readline(MAX_LINE_BYTES + 1):
            number += 1
            if number == 1:
                _check_start(path, line)
            if len(line) > MAX_LINE_BYTES:
                raise CorpusError(f"{path}, line {number}: longer than {MAX_LINE_BYTES} bytes")
            if b"\0" in line:
                _refuse_binary(path, number)
            try:
                text = line.decode("utf-8-sig" if number == 1 else "utf-8")
            except UnicodeDecodeError as error:
                _refuse_encoding(path, error, number)
            yield number, text, raw.tell()


@contextmanager
def _open(path: Path) -> Iterator[tuple[IO[bytes], IO[bytes]]]:
    """The decompressed stream and the file below it; their errors become ``CorpusError``."""
    try:
        with path.open("rb") as raw:
            if path.name.lower().endswith(".gz"):
                with gzip.open(raw, "rb") as stream:
                    yield cast(IO[bytes], stream), raw
            else:
                yield raw, raw
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise CorpusError(f"{path} is a broken gzip file: {error}") from error
    except OSError as error:
        raise CorpusError(f"{path} cannot be read: {error.strerror or error}") from error


def _check_start(path: Path, start: bytes) -> None:
    if start.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        raise CorpusError(f"{path} is UTF-16 text; convert it to UTF-8")


def _refuse_encoding(path: Path, error: UnicodeDecodeError, first_line: int) -> NoReturn:
    line = first_line + error.object[: error.start].count(b"\n")
    raise CorpusError(
        f"{path}, line {line}: no UTF-8 text (byte 0x{error.object[error.start]:02x}); "
        "convert it to UTF-8"
    ) from error


def _refuse_binary(path: Path, line: int) -> NoReturn:
    raise CorpusError(f"{path}, line {line}: holds a NUL byte; it is no text but a binary file")
