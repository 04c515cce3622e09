"""The stage ``prepare``: a corpus becomes a tokenizer and files of token ids.

Two passes over the text, both streamed. The first hashes every document (which splits them and
finds repetitions) and keeps a sample to learn the tokenizer from; the second encodes and writes.
Memory does not grow with the corpus, but for some 50 bytes per document.

Everything is written to a folder beside the final one, which is renamed when it is complete: a run
that was killed leaves nothing half-done. A run that finds its result already there, made from the
same files with the same settings, does nothing.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.bundle.durable_files import sync_directory
from model.errors import ConfigurationError, CorpusError, TrainingError
from model.tokenizers import Tokenizer, TokenizerKind, train_tokenizer
from training.corpus import corpus_digest
from training.corpus_source import CorpusSource
from training.corpus_survey import Survey, survey_corpus
from training.parallel_encoding import encode_batches, num_processes_for
from training.prepare_progress import PrepareProgress, Show
from training.prepared_corpus import PreparedCorpus, SplitCounts
from training.splits import DROPPED, SPLITS, Split, document_hash
from training.token_file import TokenFileWriter

_BATCH_CHARACTERS = 1_000_000


@dataclass(frozen=True, kw_only=True)
class PrepareSettings:
    """What to prepare, and how.

    Attributes:
        corpus: file or folder of text to train on.
        output: the folder to make, ``runs/<name>/prepared``.
        tokenizer_kind: kind of tokenizer to learn.
        vocab_size: most ids of it; None: by kind and size of the corpus.
        tokenizer: a ``tokenizer.json`` to use instead of learning one.
        validation: file or folder of validation text, in place of a share of the corpus.
        test: file or folder of test text, in place of a share of the corpus.
        validation_share: of the documents of the corpus.
        test_share: of the documents of the corpus.
        jsonl_field: field that holds the text in ``.jsonl`` files.
        csv_column: column that holds the text in ``.csv`` files.
        document_characters: cut longer documents; None: by size of the corpus, at most 65,536.
        sample_characters: of text to learn the tokenizer from, at most.

    Raises:
        ConfigurationError: a share or a size is out of bounds.
    """

    corpus: Path
    output: Path
    tokenizer_kind: TokenizerKind = "bpe"
    vocab_size: int | None = None
    tokenizer: Path | None = None
    validation: Path | None = None
    test: Path | None = None
    validation_share: float = 0.05
    test_share: float = 0.05
    jsonl_field: str = "text"
    csv_column: str = "text"
    document_characters: int | None = None
    sample_characters: int = 16_000_000

    def __post_init__(self) -> None:
        for key in ("validation_share", "test_share"):
            if not 0.0 < getattr(self, key) <= 0.4:
                raise ConfigurationError(
                    f"{key} is {getattr(self, key)}; it must be above 0 and at most 0.4"
                )
        for key, low in (("document_characters", 64), ("sample_characters", 1_000)):
            value = getattr(self, key)
            if value is not None and value < low:
                raise ConfigurationError(f"{key} is {value}; it must be at least {low}")


def default_vocab_size(kind: TokenizerKind, num_characters: int) -> int:
    """The vocabulary that suits a corpus of ``num_characters``.

    So that most ids are seen often enough to be learnt, and the unknown token too: ``bpe`` gets a
    power of two from 512 to 8,192, at most one id per 400 characters; ``word`` 1,000 to 20,000,
    one per 200 characters; ``char`` 1,024.
    """
    if kind == "char":
        return 1_024
    if kind == "word":
        return max(1_000, min(20_000, num_characters // 200))
    return max(512, min(8_192, 1 << (max(512, num_characters // 400).bit_length() - 1)))


def prepare(settings: PrepareSettings, show: Show | None = None) -> PreparedCorpus:
    """Make ``settings.output``, or return what is there if it is the same.

    Args:
        settings: what to prepare.
        show: called with the progress made, some times a second.

    Raises:
        CorpusError: a file cannot be used, or there is too little text; names the file.
        TokenizerError: ``settings.tokenizer`` is damaged.
        ConfigurationError: the vocabulary size does not suit the kind of tokenizer.
        TrainingError: the disk refuses.
    """
    source = CorpusSource.find(
        settings.corpus,
        validation=settings.validation,
        test=settings.test,
        jsonl_field=settings.jsonl_field,
        csv_column=settings.csv_column,
        document_characters=settings.document_characters,
    )
    given = None if settings.tokenizer is None else Tokenizer.load(settings.tokenizer)
    record = _record(settings, given)
    digest = corpus_digest(source.files)
    done = _already_there(settings.output)
    wanted = (digest, record, source.records())
    if done is not None and (done.digest, done.settings, done.files) == wanted:
        return done
    progress = PrepareProgress(source.files, show)
    survey = survey_corpus(
        source,
        progress,
        validation_share=0.0 if settings.validation else settings.validation_share,
        test_share=0.0 if settings.test else settings.test_share,
        sample_characters=settings.sample_characters,
    )
    tokenizer = given or _learn_tokenizer(survey, settings)
    incoming = settings.output.with_name(f".{settings.output.name}.incoming")
    try:
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(parents=True)
        tokenizer.save(incoming / "tokenizer.json")
        splits = _write_tokens(source, survey, tokenizer, incoming, progress)
        PreparedCorpus(
            directory=incoming,
            digest=digest,
            settings=record,
            tokenizer_kind=tokenizer.kind,
            vocab_size=tokenizer.vocab_size,
            tokenizer_digest=tokenizer.digest,
            splits=splits,
            num_dropped_documents=survey.plan.num_dropped,
            files=source.records(),
        ).save()
        _install(incoming, settings.output)
    except OSError as error:
        raise TrainingError(f"cannot write {settings.output}: {error.strerror or error}") from error
    finally:
        shutil.rmtree(incoming, ignore_errors=True)
    return PreparedCorpus.load(settings.output)


def _record(settings: PrepareSettings, given: Tokenizer | None) -> dict[str, Any]:
    """The settings that decide the result, JSON-ready; the files are in the corpus digest."""
    return {
        "tokenizer_kind": settings.tokenizer_kind if given is None else given.kind,
        "vocab_size": settings.vocab_size if given is None else given.vocab_size,
        "tokenizer": None if given is None else given.digest,
        "validation_share": settings.validation_share if settings.validation is None else None,
        "test_share": settings.test_share if settings.test is None else None,
        "jsonl_field": settings.jsonl_field,
        "csv_column": settings.csv_column,
        "document_characters": settings.document_characters,
        "sample_characters": settings.sample_characters,
    }


def _already_there(output: Path) -> PreparedCorpus | None:
    try:
        return PreparedCorpus.load(output)
    except CorpusError:
        return None


def _learn_tokenizer(survey: Survey, settings: PrepareSettings) -> Tokenizer:
    """A tokenizer learnt from training documents alone."""
    kind = settings.tokenizer_kind
    vocab_size = settings.vocab_size or default_vocab_size(kind, survey.num_characters)
    return train_tokenizer(kind, survey.training_texts(), vocab_size)


def _write_tokens(
    source: CorpusSource,
    survey: Survey,
    tokenizer: Tokenizer,
    folder: Path,
    progress: PrepareProgress,
) -> dict[Split, SplitCounts]:
    """The second pass: encode the documents into one file per split."""
    counts = {split: SplitCounts() for split in SPLITS}
    read_ahead: deque[list[tuple[Split, str]]] = deque()

    def texts() -> Iterator[list[str]]:
        for batch in _batches(_assigned(source, survey, progress)):
            read_ahead.append(batch)
            yield [text for _, text in batch]

    num_processes = num_processes_for(source.num_bytes, tokenizer)
    with ExitStack() as stack:
        writers = {
            split: stack.enter_context(
                TokenFileWriter(folder / f"{split}.bin", tokenizer.vocab_size)
            )
            for split in SPLITS
        }
        for encoded in encode_batches(tokenizer, texts(), num_processes):
            for (split, text), token_ids in zip(read_ahead.popleft(), encoded, strict=True):
                writers[split].append([tokenizer.end_of_text_id])
                writers[split].append(token_ids)
                counts[split].num_documents += 1
                counts[split].num_characters += len(text)
                counts[split].num_bytes += len(text.encode("utf-8"))
                counts[split].num_tokens += 1 + len(token_ids)
    return counts


def _assigned(
    source: CorpusSource, survey: Survey, progress: PrepareProgress
) -> Iterator[tuple[Split, str]]:
    """The documents that are kept, with their split.

    Raises:
        CorpusError: they are not those of the first pass.
    """
    changed = "the corpus was changed while it was read; prepare again"
    ordinal = -1
    for ordinal, document in enumerate(source.documents()):
        identity = document_hash(document.text.encode("utf-8")).identity
        if ordinal >= len(survey.hashes) or identity != survey.hashes[ordinal]:
            raise CorpusError(f"{source.files[document.file_index].path}: {changed}")
        progress.update("encoding", document)
        assignment = survey.plan.assignments[ordinal]
        if assignment != DROPPED:
            yield SPLITS[assignment], document.text
    if ordinal + 1 != len(survey.hashes):
        raise CorpusError(f"{source.files[-1].path}: {changed}")


def _batches(documents: Iterator[tuple[Split, str]]) -> Iterator[list[tuple[Split, str]]]:
    """Lists of documents of about a million characters together."""
    batch: list[tuple[Split, str]] = []
    num_characters = 0
    for split, text in documents:
        batch.append((split, text))
        num_characters += len(text)
        if num_characters >= _BATCH_CHARACTERS:
            yield batch
            batch, num_characters = [], 0
    if batch:
        yield batch


def _install(incoming: Path, output: Path) -> None:
    """Put the finished folder in its place, durably; an older one goes."""
    for file in incoming.iterdir():
        with file.open("rb") as stream:
            os.fsync(stream.fileno())
    sync_directory(incoming)
    outdated = output.with_name(f".{output.name}.outdated")
    shutil.rmtree(outdated, ignore_errors=True)
    if output.exists():
        output.rename(outdated)
    incoming.rename(output)
    sync_directory(output.parent)
    shutil.rmtree(outdated, ignore_errors=True)
