"""Passages as documents of a corpus file."""

from __future__ import annotations

import json
import random
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

from model.errors import ConfigurationError, TrainingError
from model.tokenizers import END_OF_TEXT
from training.language_sentences.passages import NO_PROSE, passages
from training.language_sentences.real_prose import read_real_prose

#: How many passages a document holds, one as likely as the other: a model that sees each passage in
#: a document of its own learns that texts are short.
_PASSAGES = (1, 2, 4, 8, 16, 32)
#: How many blocks of a document are paragraphs of prose, where there is some.
_PROSE_SHARE = 0.25
#: Of shorter passages there are too few.
_MIN_WORDS = 8


def write_documents(
    path: Path,
    count: int,
    seed: int,
    prose_folder: Path | None = None,
    max_words: int | None = None,
) -> int:
    """Write ``count`` passages to ``path``; return the number of bytes.

    A ``.jsonl`` file gets a record per document; any other ``<|endoftext|>`` between documents.

    Args:
        path: the file to write.
        count: passages in all.
        seed: the same seed gives the same file.
        prose_folder: texts whose paragraphs are put between some causes and their languages, and
            whose sentences about countries are told of other countries.
        max_words: words of the longest passage; None: however long.

    Raises:
        ConfigurationError: ``count`` is below 1, ``max_words`` below 8.
        CorpusError: the prose cannot be read.
        TrainingError: the file cannot be written.
    """
    if count < 1:
        raise ConfigurationError(f"count is {count}; it must be at least 1")
    if max_words is not None and max_words < _MIN_WORDS:
        raise ConfigurationError(f"max-words is {max_words}; it must be at least {_MIN_WORDS}")
    rng = random.Random(f"documents {seed}")
    prose = NO_PROSE if prose_folder is None else read_real_prose(prose_folder, rng)
    texts = passages(seed, prose, max_words)
    documents = _documents(islice(texts, count), prose.plain, rng)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("w", encoding="utf-8") as stream:
            for number, document in enumerate(documents):
                if path.suffix == ".jsonl":
                    stream.write(json.dumps({"text": document}, ensure_ascii=False) + "\n")
                else:
                    stream.write(f"{END_OF_TEXT if number else ''}{document}\n")
        return path.stat().st_size
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error


def _documents(texts: Iterator[str], prose: tuple[str, ...], rng: random.Random) -> Iterator[str]:
    """Passages, few or many together, with paragraphs of ``prose`` before and between them."""
    for text in texts:
        document = []
        for passage in (text, *islice(texts, rng.choice(_PASSAGES) - 1)):
            if prose and rng.random() < _PROSE_SHARE:
                document.append(rng.choice(prose))
            document.append(passage)
        yield "\n\n".join(document)
