"""Preparing a large text for training, beside the tokenizers library's own batches on all cores.

    python -m benchmarks.tokenizing --megabytes 1000
    python -m benchmarks.tokenizing --corpus path/to/texts

Ours is all that ``prepare`` does, in a process of its own: reading twice, splitting, learning the
tokenizer, encoding, writing. The library's is the encoding alone, of text already in memory.
"""

from __future__ import annotations

import argparse
import dataclasses
import resource
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path

import numpy as np

from benchmarks.command import errors_said_plainly
from benchmarks.generated_text import write_text
from benchmarks.record import Result, describe_machine, machine_title, print_tables
from benchmarks.service_process import tree_memory
from model.tokenizers import Tokenizer, TokenizerKind
from training.corpus import find_corpus_files, read_documents
from training.prepare import PrepareSettings, prepare

KINDS: tuple[TokenizerKind, ...] = ("bpe", "word", "char")
_LIBRARY_DOCUMENTS = 100
_BATCH_DOCUMENTS = 16
_DOCUMENT_CHARACTERS = 65_536
_MEMORY_SECONDS = 0.2


@dataclass(frozen=True)
class _Prepared:
    """One preparation: of how much, in what time, by the clock and by all processors together."""

    num_bytes: int
    wall_seconds: float
    processor_seconds: float
    peak_mb: float = 0.0


def measure(corpus: Path, kinds: Sequence[TokenizerKind], rounds: int) -> list[Result]:
    """Rates and memory; each round measures both in turn."""
    results: list[Result] = []
    for kind in kinds:
        ours: list[_Prepared] = []
        library: list[float] = []
        for _ in range(rounds):
            with tempfile.TemporaryDirectory(prefix="foretoken-tokenizing-") as folder:
                settings = PrepareSettings(
                    corpus=corpus, output=Path(folder, "prepared"), tokenizer_kind=kind
                )
                ours.append(_prepare_alone(settings))
                tokenizer = Tokenizer.load(settings.output / "tokenizer.json")
            library.append(_library_rate(corpus, tokenizer))
        results += _results(kind, ours, library)
        print_tables(results[-4:])
    return results


def _results(
    kind: str, ours: Sequence[_Prepared], library: Sequence[float]
) -> tuple[Result, Result, Result, Result]:
    rates = tuple(run.num_bytes / 1e6 / run.wall_seconds for run in ours)
    per_megabyte = tuple(1e9 * run.processor_seconds / run.num_bytes for run in ours)
    shares = tuple(rate / other for rate, other in zip(rates, library, strict=True))

    def result(case: str, metric: str, values: tuple[float, ...]) -> Result:
        return Result(benchmark=f"tokenizing, {kind}", case=case, metric=metric, values=values)

    return (
        dataclasses.replace(
            result("prepare, all of it", "MB/s", rates), shares=shares, share_of="encode_batch"
        ),
        result("encode_batch of tokenizers", "MB/s", tuple(library)),
        result("prepare, processor time", "ms per MB", per_megabyte),
        result("prepare, peak of all processes", "MB", tuple(run.peak_mb for run in ours)),
    )


def _prepare_alone(settings: PrepareSettings) -> _Prepared:
    """``prepare`` in a new process, whose memory is watched."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_prepare, args=(settings, sender))
    process.start()
    sender.close()
    peak_mb = 0.0
    while not receiver.poll(_MEMORY_SECONDS):
        try:
            memory = sum(one.proportional_mb for one in tree_memory(process.pid or 0))
        except (OSError, RuntimeError):
            continue  # one of them has just ended
        peak_mb = max(peak_mb, memory)
    try:
        num_bytes, wall_seconds, processor_seconds = receiver.recv()
    except EOFError:
        raise RuntimeError("prepare failed; see above") from None
    finally:
        process.join()
    return _Prepared(num_bytes, wall_seconds, processor_seconds, peak_mb)


def _prepare(settings: PrepareSettings, sender: Connection) -> None:
    start = time.perf_counter()
    prepared = prepare(settings)
    wall_seconds = time.perf_counter() - start
    usages = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    num_bytes = sum(split.num_bytes for split in prepared.splits.values())
    sender.send((num_bytes, wall_seconds, sum(u.ru_utime + u.ru_stime for u in usages)))


def _library_rate(corpus: Path, tokenizer: Tokenizer) -> float:
    """Megabytes a second of ``encode_batch`` over the first documents of ``corpus``."""
    documents = read_documents(find_corpus_files(corpus), document_characters=_DOCUMENT_CHARACTERS)
    texts = [document.text for document in islice(documents, _LIBRARY_DOCUMENTS)]
    start = time.perf_counter()
    for first in range(0, len(texts), _BATCH_DOCUMENTS):
        batch = texts[first : first + _BATCH_DOCUMENTS]
        for token_ids in tokenizer.encode_batch(batch, parse_special=False):
            np.array(token_ids, np.uint32)
    seconds = time.perf_counter() - start
    return sum(len(text.encode("utf-8")) for text in texts) / 1e6 / seconds


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code."""
    options = _parser().parse_args(arguments)
    print(machine_title(describe_machine()))
    with errors_said_plainly() as failed, tempfile.TemporaryDirectory() as folder:
        corpus = options.corpus
        if corpus is None:
            corpus = Path(folder, "generated.txt")
            write_text(corpus, round(options.megabytes * 1e6), seed=1)
        measure(corpus, options.kinds, options.rounds)
    return int(bool(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tokenizing", allow_abbrev=False)
    parser.add_argument("--corpus", type=Path, help="file or folder of text")
    parser.add_argument(
        "--megabytes", type=float, default=100.0, help="of generated text, where no corpus is given"
    )
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--rounds", type=int, default=3)
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
