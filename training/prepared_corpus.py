"""``prepared/``: what the stage ``prepare`` leaves for the others, and ``corpus.json`` about it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from model.errors import CorpusError
from model.tokenizers import Tokenizer, TokenizerKind
from training.splits import SPLITS, Split
from training.token_file import TokenFile

#: Raised when ``corpus.json`` or the files beside it change their meaning.
FORMAT = 1


@dataclass(kw_only=True)
class SplitCounts:
    """How much one split holds.

    Attributes:
        num_documents: documents, blank and repeated ones not counted.
        num_characters: Unicode code points of their text.
        num_bytes: UTF-8 bytes of their text; what bits per byte are per.
        num_tokens: ids in its file, with one ``<|endoftext|>`` per document.
    """

    num_documents: int = 0
    num_characters: int = 0
    num_bytes: int = 0
    num_tokens: int = 0


@dataclass(frozen=True, kw_only=True)
class FileRecord:
    """A file that was read.

    Attributes:
        name: path inside the corpus.
        size_bytes: on disk.
        split: ``validation`` or ``test`` where it was given for that; else None.
    """

    name: str
    size_bytes: int
    split: Split | None


@dataclass(frozen=True, kw_only=True)
class PreparedCorpus:
    """A corpus as token ids on disk.

    Attributes:
        directory: holds ``tokenizer.json``, ``train.bin``, ``validation.bin``, ``test.bin`` and
            ``corpus.json``.
        digest: sha256 of the names and contents of all files read.
        settings: that decided the result, JSON-ready.
        tokenizer_kind: char, word or bpe.
        vocab_size: ids of the tokenizer.
        tokenizer_digest: sha256 of ``tokenizer.json``.
        splits: how much each split holds.
        num_dropped_documents: that were left out because they occur twice.
        files: in reading order.
    """

    directory: Path
    digest: str
    settings: Mapping[str, Any]
    tokenizer_kind: TokenizerKind
    vocab_size: int
    tokenizer_digest: str
    splits: Mapping[Split, SplitCounts]
    num_dropped_documents: int
    files: tuple[FileRecord, ...]

    @property
    def tokenizer_path(self) -> Path:
        """Where ``tokenizer.json`` is."""
        return self.directory / "tokenizer.json"

    def tokenizer(self) -> Tokenizer:
        """The tokenizer the ids are of.

        Raises:
            TokenizerError: the file is missing or damaged.
        """
        return Tokenizer.load(self.tokenizer_path)

    def token_file(self, split: Split) -> TokenFile:
        """The ids of ``split``."""
        return TokenFile(self.directory / f"{split}.bin", self.vocab_size)

    def save(self) -> None:
        """Write ``corpus.json``."""
        record = asdict(self)
        del record["directory"]
        text = json.dumps({"format": FORMAT, **record}, indent=2, ensure_ascii=False)
        (self.directory / "corpus.json").write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, directory: Path) -> PreparedCorpus:
        """Read ``corpus.json`` and check that the files of ids are as long as it says.

        Raises:
            CorpusError: something is missing, damaged, or of another version; the message says
                what, and to prepare again.
        """
        path = directory / "corpus.json"
        try:
            record = json.loads(path.read_text(encoding="utf-8"))
            found = record.pop("format")
            if found != FORMAT:
                raise CorpusError(f"{path} has format {found}, not {FORMAT}; prepare again")
            record["splits"] = {split: _counts(record["splits"][split]) for split in SPLITS}
            record["files"] = tuple(FileRecord(**file) for file in record["files"])
            prepared = cls(directory=directory, **record)
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise CorpusError(f"{path} is missing or damaged ({error}); prepare again") from error
        for split in SPLITS:
            file = prepared.token_file(split)
            if len(file.ids()) != prepared.splits[split].num_tokens:
                raise CorpusError(f"{file.path} is not as long as written; prepare again")
        return prepared


def _counts(values: Mapping[str, int]) -> SplitCounts:
    """The counts in ``values``, every one of which must be there."""
    return SplitCounts(**{field.name: values[field.name] for field in fields(SplitCounts)})
