"""The command line that all benchmarks share: which model to measure, and where results go."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.record import Result, describe_machine, load_average, print_tables
from benchmarks.subject import (
    SHIPPED_BUNDLE,
    Subject,
    check_size,
    published_subject,
    random_subject,
)
from model.errors import ForetokenError

Measure = Callable[[Subject, argparse.Namespace], list[Result]]


def subject_parser(program: str, description: str) -> argparse.ArgumentParser:
    """``--bundle``, ``--size`` and ``--out``; more may be added."""
    parser = argparse.ArgumentParser(prog=program, description=description, allow_abbrev=False)
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE, help="what to measure")
    parser.add_argument(
        "--size", type=_size, help="instead a random LSTM: LAYERSxHIDDEN, such as 2x512"
    )
    parser.add_argument("--out", type=Path, help="folder for what is measured")
    return parser


def run_part(part: str, measure: Measure, parser_options: argparse.Namespace) -> int:
    """One benchmark by itself: prints its tables, writes ``<model>-<part>.json`` into ``--out``.

    Returns the exit code.
    """
    with errors_said_plainly() as failed, chosen_subject(parser_options) as subject:
        recorder = Recorder(subject)
        print(recorder.title)
        results = measure(subject, parser_options)
        print_tables(results)
        recorder.finish(results)
        if parser_options.out:
            print(f"written: {recorder.write(parser_options.out, part)}")
    return int(bool(failed))


@contextmanager
def chosen_subject(options: argparse.Namespace) -> Iterator[Subject]:
    """What ``--bundle`` or ``--size`` say; one that is made is deleted in the end."""
    with tempfile.TemporaryDirectory(prefix="foretoken-benchmark-") as folder:
        if options.size:
            yield random_subject(options.size, Path(folder))
        else:
            yield published_subject(options.bundle)


@contextmanager
def errors_said_plainly() -> Iterator[list[str]]:
    """Prints what went wrong in one line and collects it, instead of a traceback."""
    failed: list[str] = []
    try:
        yield failed
    except (ForetokenError, RuntimeError) as error:
        failed.append(str(error))
        print(f"error: {error}", file=sys.stderr)


class Recorder:
    """Notes machine and model when it is made, results and time at the end."""

    def __init__(self, subject: Subject) -> None:
        self._start = time.perf_counter()
        self._machine = describe_machine()
        self._subject = subject
        self._record: dict[str, Any] = {}

    @property
    def title(self) -> str:
        """Model and machine in one line."""
        config, machine = self._subject.config, self._machine
        return (
            f"{self._subject.name}: {config.cell.upper()} {config.num_layers} x "
            f"{config.hidden_size}, vocabulary {config.vocab_size}, "
            f"{config.num_weights() / 1e6:.1f} M weights, int8; {machine['processor']}, "
            f"{machine['cores']} cores, load average {machine['load_average_before'][0]} "
            "at the start"
        )

    def finish(self, results: Sequence[Result]) -> None:
        """Takes the results and says how long it took."""
        self._record = {
            "created": int(time.time()),
            "seconds": round(time.perf_counter() - self._start, 1),
            "machine": self._machine | {"load_average_after": load_average()},
            "model": self._subject.describe(),
            "results": [result.to_dict() for result in results],
        }
        print(f"\n{self._record['seconds']:.0f} s, load average now {load_average()}")

    def write(self, folder: Path, part: str = "") -> Path:
        """Writes all as JSON, named for the model and, if not all was measured, the part."""
        folder.mkdir(parents=True, exist_ok=True)
        file = folder / f"{self._subject.name}{'-' if part else ''}{part}.json"
        file.write_text(json.dumps(self._record, indent=1) + "\n", encoding="utf-8")
        return file


def _size(text: str) -> str:
    try:
        return check_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
