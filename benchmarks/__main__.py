"""``python -m benchmarks``: the short form, in under five minutes on a machine that is free.

It measures the engine, the service over HTTP, start and memory, and other frameworks' loops; it
prints tables, and with ``--out`` writes ``<model>.json`` and ``<model>.svg``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import engine, generate_loop, http_load, start_and_memory
from benchmarks.command import Recorder, chosen_subject, errors_said_plainly, subject_parser
from benchmarks.record import Result, print_tables
from benchmarks.service_process import running_service
from benchmarks.subject import Subject


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code."""
    options = _parser().parse_args(arguments)
    with errors_said_plainly() as failed, chosen_subject(options) as subject:
        recorder = Recorder(subject)
        print(recorder.title)
        results = measure(subject, with_crowd=options.crowd, with_loops=not options.no_loops)
        recorder.finish(results)
        if options.out:
            print(f"written: {recorder.write(options.out)}")
            print(f"written: {_draw(results, recorder.title, options.out / subject.name)}")
    return int(bool(failed))


def measure(subject: Subject, *, with_crowd: bool, with_loops: bool) -> list[Result]:
    """All results; each benchmark's table is printed as soon as it is there."""
    results = engine.measure(subject)
    engine_results = tuple(results)
    print_tables(engine_results)
    with running_service(subject.directory) as service:
        http = http_load.measure(subject, service, engine_results, with_crowd=with_crowd)
        print_tables(http)
        memory = start_and_memory.measure_memory(service)
    rest = [*start_and_memory.measure_start(subject), *memory]
    if with_loops:
        rest += generate_loop.measure(subject, engine_results)
    print_tables(rest)
    return [*results, *http, *rest]


def _draw(results: Sequence[Result], title: str, file: Path) -> Path:
    from benchmarks.picture import draw  # noqa: PLC0415  matplotlib, only where it is wanted

    picture = file.with_suffix(".svg")
    draw(results, title, picture)
    return picture


def _parser() -> argparse.ArgumentParser:
    parser = subject_parser("python -m benchmarks", "The short form, in under five minutes.")
    parser.add_argument("--crowd", action="store_true", help="also 256 clients: takes long")
    parser.add_argument("--no-loops", action="store_true", help="only ourselves, not the others")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
