"""All the files of a preparation, those given for validation or test included, as one stream."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.corpus import (
    CorpusFile,
    Document,
    find_corpus_files,
    read_documents,
    suggested_document_characters,
)
from training.prepared_corpus import FileRecord
from training.splits import Split


@dataclass(frozen=True)
class CorpusSource:
    """Files to read, and how.

    Attributes:
        corpus: the file or folder of the corpus.
        files: those of the corpus, then those given for a split.
        given: for each file the split it was given for, if any.
        document_characters: longer documents are cut.
        jsonl_field: field that holds the text in ``.jsonl`` files.
        csv_column: column that holds the text in ``.csv`` files.
    """

    corpus: Path
    files: list[CorpusFile]
    given: list[Split | None]
    document_characters: int
    jsonl_field: str
    csv_column: str

    @classmethod
    def find(
        cls,
        corpus: Path,
        *,
        validation: Path | None,
        test: Path | None,
        jsonl_field: str,
        csv_column: str,
        document_characters: int | None,
    ) -> CorpusSource:
        """The files at these places; ``document_characters`` None: by size of the corpus.

        Raises:
            CorpusError: a place is missing or holds no file that can be read.
        """
        files = find_corpus_files(corpus)
        length = document_characters or suggested_document_characters(files)
        given: list[Split | None] = [None] * len(files)
        held_out: tuple[tuple[Split, Path | None], ...] = (
            ("validation", validation),
            ("test", test),
        )
        for split, path in held_out:
            if path is not None:
                found = find_corpus_files(path)
                files += found
                given += [split] * len(found)
        return cls(corpus, files, given, length, jsonl_field, csv_column)

    @property
    def num_bytes(self) -> int:
        """Size of all files on disk."""
        return sum(file.size_bytes for file in self.files)

    def documents(self) -> Iterator[Document]:
        """The documents of all files, in order.

        Raises:
            CorpusError: a file cannot be used; the message names file and line.
        """
        return read_documents(
            self.files,
            document_characters=self.document_characters,
            jsonl_field=self.jsonl_field,
            csv_column=self.csv_column,
        )

    def records(self) -> tuple[FileRecord, ...]:
        """What ``corpus.json`` says of the files."""
        return tuple(
            FileRecord(name=file.name, size_bytes=file.size_bytes, split=split)
            for file, split in zip(self.files, self.given, strict=True)
        )
