"""Does ``--minutes N`` choose well? What it chooses, beside the settings next to it.

    python -m benchmarks.minutes --corpus path/to/texts --minutes 1
    python -m benchmarks.minutes --corpus path/to/texts --minutes 1 --kinds bpe --megabytes 1 10
    python -m benchmarks.minutes --corpus path/to/texts --megabytes 1 --vary dropout clip tied

For each kind of tokens and each size of corpus a run with nothing but ``--minutes`` given is
trained; then, on the same prepared corpus and in the same time, runs that differ in one setting
from what was chosen: twice and half the learning rate, the next wider and narrower network; if
asked for, what each part of the regularisation is worth. All are scored by the best weights'
loss on the validation text. Where one of them is clearly better, the choice was not good.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.command import errors_said_plainly
from benchmarks.record import Result, describe_machine, machine_title, print_tables
from model.tokenizers import TokenizerKind
from training.corpus import find_corpus_files, read_documents
from training.log_records import read_log
from training.planning import HIDDEN_SIZES
from training.prepared_corpus import PreparedCorpus
from training.run_directory import RunDirectory, read_json

KINDS: tuple[TokenizerKind, ...] = ("char", "word", "bpe")
MEGABYTES = (0.1, 1.0, 10.0, 60.0)
AS_CHOSEN = "as chosen"
_DOCUMENT_CHARACTERS = 4_096


@dataclass(frozen=True)
class Outcome:
    """What came of one training.

    Attributes:
        name: how it differs from what was chosen.
        bits_per_byte: of the validation text, at best.
        best: lowest validation loss, nats per token.
        last: validation loss at the end.
        minutes: that the stage ``train`` took, by its own clock.
        plan: what was trained.
    """

    name: str
    bits_per_byte: float
    best: float
    last: float
    minutes: float
    plan: Mapping[str, Any]

    @property
    def description(self) -> str:
        """The plan in a few words."""
        config = self.plan["config"]
        return (
            f"{config['num_layers']} x {config['hidden_size']}, dropout {config['dropout']}, "
            f"{self.plan['batch_size']} x {self.plan['window']}, "
            f"rate {self.plan['learning_rate']:.4f}"
        )


def measure(
    corpus: Path, kind: TokenizerKind, minutes: float, folder: Path, vary: Sequence[str]
) -> list[Outcome]:
    """The chosen plan's outcome first, then those of the plans next to it.

    Args:
        corpus: one file of text.
        kind: of tokens.
        minutes: the budget of each training.
        folder: where runs are made.
        vary: which settings, keys of ``VARIATIONS``.

    Raises:
        RuntimeError: a stage fails.
    """
    common = ["--runs", str(folder), "--corpus", str(corpus), "--tokenizer", kind]
    first = RunDirectory.of(folder, "chosen")
    _stage("prepare", first, common)
    outcomes = [_trained(first, minutes, AS_CHOSEN, common)]
    for setting in vary:
        for name, flags in VARIATIONS[setting](outcomes[0].plan):
            other = RunDirectory.of(folder, name.replace(" ", "-"))
            shutil.copytree(first.prepared, other.prepared)
            outcomes.append(_trained(other, minutes, name, [*common, *flags]))
    return outcomes


def _trained(run: RunDirectory, minutes: float, name: str, flags: Sequence[str]) -> Outcome:
    given = [*flags, "--minutes", str(minutes)]
    start = time.monotonic()
    _stage("train", run, given)
    seconds = time.monotonic() - start
    records = read_log(run.log)
    losses = [record["validation_loss"] for record in records if "validation_loss" in record]
    counts = PreparedCorpus.load(run.prepared).splits["validation"]
    outcome = Outcome(
        name=name,
        bits_per_byte=min(losses) / math.log(2.0) * counts.num_tokens / counts.num_bytes,
        best=min(losses),
        last=losses[-1],
        minutes=max(record.get("seconds", 0.0) for record in records) / 60.0,
        plan=read_json(run.plan)["plan"],
    )
    print(
        f"  {name:<18}{outcome.bits_per_byte:8.4f} bits per byte   {outcome.minutes:5.2f} min "
        f"({seconds / 60.0:.2f} with start)   {outcome.description}",
        flush=True,
    )
    return outcome


#: Name and flags of a plan that differs in one setting.
Variation = tuple[str, list[str]]


def _rates(plan: Mapping[str, Any]) -> Iterator[Variation]:
    rate = plan["learning_rate"]
    yield "twice the rate", ["--learning-rate", f"{2.0 * rate:.6f}"]
    yield "half the rate", ["--learning-rate", f"{rate / 2.0:.6f}"]


def _widths(plan: Mapping[str, Any]) -> Iterator[Variation]:
    place = HIDDEN_SIZES.index(plan["config"]["hidden_size"])
    if place + 1 < len(HIDDEN_SIZES):
        yield "wider", ["--hidden-size", str(HIDDEN_SIZES[place + 1])]
    if place > 0:
        yield "narrower", ["--hidden-size", str(HIDDEN_SIZES[place - 1])]


def _dropouts(plan: Mapping[str, Any]) -> Iterator[Variation]:
    for dropout in (0.0, 0.2, 0.5):
        if dropout != plan["config"]["dropout"]:
            yield f"dropout {dropout:g}", ["--dropout", str(dropout)]


def _tying(plan: Mapping[str, Any]) -> Iterator[Variation]:
    tied = plan["config"]["tie_embeddings"]
    yield "untied" if tied else "tied", ["--tie-embeddings", str(not tied).lower()]


def _setting(name: str, *values: float) -> Callable[[Mapping[str, Any]], Iterator[Variation]]:
    def variations(_: Mapping[str, Any]) -> Iterator[Variation]:
        for value in values:
            yield f"{name} {value:g}", ["--" + name.replace(" ", "-"), str(value)]

    return variations


#: What can be varied, and how.
VARIATIONS: Mapping[str, Callable[[Mapping[str, Any]], Iterator[Variation]]] = {
    "rate": _rates,
    "width": _widths,
    "dropout": _dropouts,
    "weight-dropout": _setting("weight dropout", 0.2, 0.5),
    "embedding-dropout": _setting("embedding dropout", 0.1),
    "weight-decay": _setting("weight decay", 0.0, 0.1),
    "clip": _setting("clip norm", 0.25, 1000.0),
    "tied": _tying,
}


def _stage(stage: str, run: RunDirectory, flags: Sequence[str]) -> None:
    command = [sys.executable, "-m", "training", stage, "--name", run.name, *flags]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{stage} failed: {done.stderr.strip().splitlines()[-1:]}")


def cut_corpus(source: Path, path: Path, num_bytes: int) -> None:
    """Writes about ``num_bytes`` of ``source``, evenly from all over it, to ``path``.

    Raises:
        RuntimeError: there is less.
    """
    files = find_corpus_files(source)
    total = sum(file.size_bytes for file in files)
    if total < num_bytes:
        raise RuntimeError(f"{source} has {total:,} bytes, not {num_bytes:,}")
    every = max(1, math.floor(total / num_bytes))
    written = 0
    with path.open("w", encoding="utf-8") as stream:
        documents = read_documents(files, document_characters=_DOCUMENT_CHARACTERS)
        for number, document in enumerate(documents):
            if number % every == 0 and written < num_bytes:
                written += len(document.text.encode("utf-8"))
                stream.write(document.text.strip() + "\n\n")


def _results(benchmark: str, outcomes: Sequence[Outcome], minutes: float) -> Iterator[Result]:
    def result(case: str, metric: str, value: float, whole: float, share_of: str) -> Result:
        return Result(
            benchmark=benchmark,
            case=case,
            metric=metric,
            values=(value,),
            shares=(value / whole,),
            share_of=share_of,
        )

    chosen = outcomes[0]
    bits = chosen.bits_per_byte
    for each in outcomes:
        case = f"{each.name}: {each.description}"
        yield result(case, "bits per byte", each.bits_per_byte, bits, "what is chosen")
    yield result(f"{AS_CHOSEN}: time taken", "minutes", chosen.minutes, minutes, "the budget")
    end = f"{AS_CHOSEN}: validation at the end"
    yield result(end, "nats per token", chosen.last, chosen.best, "its best")


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code."""
    options = _parser().parse_args(arguments)
    machine = describe_machine()
    print(machine_title(machine))
    results: list[Result] = []
    with errors_said_plainly() as failed:
        for megabytes in options.megabytes:
            for kind in options.kinds:
                with tempfile.TemporaryDirectory(prefix="foretoken-minutes-") as folder:
                    corpus = Path(folder, "corpus.txt")
                    cut_corpus(options.corpus, corpus, round(megabytes * 1e6))
                    title = f"{options.minutes:g} minutes, {kind}, {megabytes:g} MB"
                    print(title, flush=True)
                    outcomes = measure(
                        corpus,
                        kind,
                        options.minutes,
                        Path(folder),
                        options.vary,
                    )
                    results += _results(title, outcomes, options.minutes)
        print_tables(results)
        if options.out:
            options.out.mkdir(parents=True, exist_ok=True)
            record = {"machine": machine, "results": [result.to_dict() for result in results]}
            path = options.out / f"minutes-{options.minutes:g}.json"
            path.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
            print(f"written: {path}")
    return int(bool(failed))


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.minutes", allow_abbrev=False)
    parser.add_argument("--corpus", type=Path, required=True, help="file or folder of text")
    parser.add_argument("--minutes", type=float, default=1.0, help="the budget of each training")
    parser.add_argument("--kinds", nargs="+", choices=KINDS, default=KINDS)
    parser.add_argument("--megabytes", nargs="+", type=float, default=MEGABYTES)
    parser.add_argument(
        "--vary",
        nargs="*",
        choices=VARIATIONS,
        default=("rate", "width"),
        help="settings to differ in [rate width]; none: only what is chosen",
    )
    parser.add_argument("--out", type=Path, help="folder for what is measured")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
