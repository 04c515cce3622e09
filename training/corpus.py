r"""From text files to documents: finding, reading and cutting. Streamed; memory does not grow.

A corpus is a file or a folder (read recursively, in the order of names) of

- ``.txt``   plain text;
- ``.jsonl`` one JSON object per line, its text in one field;
- ``.csv``   a header line, the text in one column;

each also compressed as ``.gz``. All must be UTF-8 (a byte order mark is dropped); line ends
``\r\n`` become ``\n``; all else is kept as it is.

A *document* is what is read from an initial state on: a record of a ``.jsonl`` or ``.csv`` file, a
``.txt`` file, or what stands between two ``<|endoftext|>`` marks in any of them. A document that
grows past ``document_characters`` is cut at the next blank line (failing that, the next line end,
space, character), so that a corpus of one single file can still be split into training and
held-out documents, and memory stays bounded. Joined, the parts of
a text are the text, but for parts that are all white space.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NoReturn, cast, get_args

from model.errors import CorpusError
from model.tokenizers import END_OF_TEXT, replace_surrogates
from training.text_stream import MAX_LINE_BYTES, read_lines, read_pieces

CorpusFileKind = Literal["txt", "jsonl", "csv"]

#: Documents are cut here at the latest, whatever the size of the corpus.
MAX_DOCUMENT_CHARACTERS = 65_536
_MIN_DOCUMENT_CHARACTERS = 1_024
_DOCUMENTS_WANTED = 60

#: The best first: behind a blank line, behind a line end, before a space.
_PLACES_TO_CUT = [re.compile(pattern) for pattern in (r"\n\n+", r"\n", r"(?= )")]


@dataclass(frozen=True)
class CorpusFile:
    """One file of a corpus.

    Attributes:
        path: where it lies.
        name: its path inside the corpus, with forward slashes.
        size_bytes: its size on disk.
        kind: how it is read.
    """

    path: Path
    name: str
    size_bytes: int
    kind: CorpusFileKind


@dataclass(frozen=True)
class Document:
    """A text that stands by itself.

    Attributes:
        text: never blank.
        file_index: the file it came from, by position.
        offset_bytes: how much of that file, as it lies on disk, was read when this was ready.
    """

    text: str
    file_index: int
    offset_bytes: int


def find_corpus_files(path: Path) -> list[CorpusFile]:
    """The readable files of the corpus at ``path``, sorted by name.

    In a folder, hidden files and files of other kinds are passed over.

    Raises:
        CorpusError: ``path`` is missing, of no known kind, a folder without any such file, or may
            not be read.
    """
    try:
        if path.is_dir():
            return _files_below(path)
        if not path.exists():
            raise CorpusError(f"{path} does not exist; give a file or folder of text")
        kind = _kind(path)
        if kind is None:
            raise CorpusError(
                f"{path} is of no known kind; give a {_known_kinds()} file, or the folder it is in"
            )
        return [CorpusFile(path, path.name, path.stat().st_size, kind)]
    except OSError as error:
        raise CorpusError(
            f"{error.filename or path} cannot be read: {error.strerror}. Let user {os.geteuid()}, "
            "who reads it, read files and enter folders there"
        ) from error


def _files_below(path: Path) -> list[CorpusFile]:
    files = []
    for folder, subfolders, names in os.walk(path, onerror=_raise):
        subfolders[:] = [name for name in subfolders if not name.startswith(".")]
        for name in names:
            file = Path(folder, name)
            kind = _kind(file)
            if kind is not None and file.is_file():
                relative = file.relative_to(path).as_posix()
                files.append(CorpusFile(file, relative, file.stat().st_size, kind))
    if not files:
        raise CorpusError(f"{path} holds no {_known_kinds()} file")
    return sorted(files, key=lambda file: file.name)


def _raise(error: OSError) -> NoReturn:
    raise error


def suggested_document_characters(files: Iterable[CorpusFile]) -> int:
    """Where to cut long documents: small enough that some dozens of them come out, to be split."""
    total = sum(file.size_bytes for file in files)
    return max(_MIN_DOCUMENT_CHARACTERS, min(MAX_DOCUMENT_CHARACTERS, total // _DOCUMENTS_WANTED))


def corpus_digest(files: Iterable[CorpusFile]) -> str:
    """A sha256, hexadecimal, of the names and contents of ``files``.

    Raises:
        CorpusError: a file cannot be read.
    """
    digest = hashlib.sha256()
    for file in files:
        try:
            with file.path.open("rb") as stream:
                content = hashlib.file_digest(stream, "sha256").hexdigest()
        except OSError as error:
            raise CorpusError(f"{file.path} cannot be read: {error.strerror}") from error
        digest.update(json.dumps([file.name, content]).encode())
    return digest.hexdigest()


def read_documents(
    files: Iterable[CorpusFile],
    *,
    document_characters: int,
    jsonl_field: str = "text",
    csv_column: str = "text",
) -> Iterator[Document]:
    """The documents of ``files``, in order; blank ones are left out.

    Args:
        files: as from ``find_corpus_files``.
        document_characters: cut documents that grow past this.
        jsonl_field: field that holds the text in a ``.jsonl`` file.
        csv_column: column that holds the text in a ``.csv`` file.

    Raises:
        CorpusError: a file is empty, binary, no UTF-8, broken, or lacks the field or column; the
            message names file and line.
    """
    for file_index, file in enumerate(files):
        if file.kind == "txt":
            records: Iterator[tuple[str, int]] = read_pieces(file.path)
            documents = _cut(records, document_characters)
        else:
            records = (
                _jsonl_texts(file.path, jsonl_field)
                if file.kind == "jsonl"
                else _csv_texts(file.path, csv_column)
            )
            documents = (
                part for record in records for part in _cut(iter([record]), document_characters)
            )
        blank = True
        for text, offset_bytes in documents:
            if text and not text.isspace():
                blank = False
                yield Document(text, file_index, offset_bytes)
        if blank:
            raise CorpusError(f"{file.path} is empty: it holds no text")


def _kind(path: Path) -> CorpusFileKind | None:
    name = path.name.lower().removesuffix(".gz")
    kind = name.rpartition(".")[2] if "." in name else ""
    if path.name.startswith(".") or kind not in get_args(CorpusFileKind):
        return None
    return cast(CorpusFileKind, kind)


def _known_kinds() -> str:
    return ", ".join(f".{kind}" for kind in get_args(CorpusFileKind)) + " or .gz of these"


def _cut(pieces: Iterator[tuple[str, int]], document_characters: int) -> Iterator[tuple[str, int]]:
    """Documents out of a text that comes in pieces, each with the offset read so far.

    Raises the buffer to twice the wanted size before it is cut, so that there is room to look for a
    paragraph's end.
    """
    buffer, offset_bytes = "", 0
    for piece, offset_bytes in pieces:
        buffer += piece
        start = 0
        while len(buffer) - start >= 2 * document_characters + len(END_OF_TEXT):
            end, following = _next_cut(buffer, start, document_characters)
            yield buffer[start:end], offset_bytes
            start = following
        buffer = buffer[start:]
    for text in buffer.split(END_OF_TEXT):
        yield text, offset_bytes


def _next_cut(text: str, start: int, document_characters: int) -> tuple[int, int]:
    """Where the document that begins at ``start`` ends, and where the next one begins."""
    earliest = start + document_characters
    latest = earliest + document_characters
    cut = earliest
    for mark in _PLACES_TO_CUT:
        if found := mark.search(text, earliest, latest):
            cut = found.end()
            break
    boundary = text.find(END_OF_TEXT, start, cut + len(END_OF_TEXT) - 1)
    return (cut, cut) if boundary < 0 else (boundary, boundary + len(END_OF_TEXT))


def _jsonl_texts(path: Path, field: str) -> Iterator[tuple[str, int]]:
    for number, line, offset_bytes in read_lines(path):
        if line.isspace():
            continue
        try:
            record = json.loads(line)
        except (ValueError, RecursionError) as error:
            raise CorpusError(f"{path}, line {number}: no valid JSON ({error})") from error
        if not isinstance(record, dict) or not isinstance(record.get(field), str):
            raise CorpusError(f"{path}, line {number}: no object with a text field {field!r}")
        yield replace_surrogates(record[field]).replace("\r\n", "\n"), offset_bytes


def _csv_texts(path: Path, column: str) -> Iterator[tuple[str, int]]:
    csv.field_size_limit(MAX_LINE_BYTES)
    offset_bytes = 0

    def lines() -> Iterator[str]:
        nonlocal offset_bytes
        for _, line, offset in read_lines(path):
            offset_bytes = offset
            yield line

    rows = csv.DictReader(lines(), strict=True)
    try:
        if rows.fieldnames is not None and column not in rows.fieldnames:
            names = ", ".join(rows.fieldnames)
            raise CorpusError(f"{path}, line 1: no column {column!r}; there are: {names}")
        for row in rows:
            if row[column] is None:
                raise CorpusError(
                    f"{path}, line {rows.reader.line_num}: no column {column!r} in this row"
                )
            yield row[column].replace("\r\n", "\n"), offset_bytes
    except csv.Error as error:
        raise CorpusError(f"{path}, line {rows.reader.line_num}: no valid CSV ({error})") from error
