"""``python -m benchmarks``: the short form, in under five minutes on a machine that is free.

It measures the engine, the service over HTTP in closed loop, open loop and overload, start and
memory, a long sequence, and other frameworks' loops; it prints tables, and writes JSON and a
picture, ``<model>.json`` and ``<model>.svg``, into the folder ``--out``.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

from benchmarks import (
    engine,
    generate_loop,
    http_load,
    llama_cpp,
    long_sequence,
    open_loop,
    overload,
    start_and_memory,
)
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
        results = measure(subject, options)
        recorder.finish(results)
        if options.out:
            print(f"written: {recorder.write(options.out)}")
            print(f"written: {_draw(results, recorder.title, options.out / subject.name)}")
    return int(bool(failed))


def measure(subject: Subject, options: argparse.Namespace) -> list[Result]:
    """All results; each benchmark's table is printed as soon as it is there."""
    results: list[Result] = []

    def add(more: Sequence[Result]) -> Sequence[Result]:
        print_tables(more)
        results.extend(more)
        return more

    of_engine = add(engine.measure(subject))
    with running_service(subject.directory) as service:
        add(http_load.measure(subject, service, of_engine, with_crowd=options.crowd))
        memory = start_and_memory.measure_memory(service)
        add(open_loop.measure(subject, service))
        add(overload.measure(subject, service))
    add([*start_and_memory.measure_start(subject), *memory])
    add(long_sequence.measure(subject))
    if options.llama_cpp:
        add(llama_cpp.measure(subject, options.llama_cpp, options.gguf))
    if not options.no_loops:
        add(generate_loop.measure(subject, of_engine))
    return results


def _draw(results: Sequence[Result], title: str, file: Path) -> Path:
    from benchmarks.picture import draw  # noqa: PLC0415  matplotlib, only where it is wanted

    picture = file.with_suffix(".svg")
    draw(results, title, picture)
    return picture


def _parser() -> argparse.ArgumentParser:
    parser = subject_parser("python -m benchmarks", "The short form, in under five minutes.")
    parser.add_argument("--crowd", action="store_true", help="also 256 clients: takes long")
    parser.add_argument("--no-loops", action="store_true", help="only ourselves, not the others")
    parser.add_argument("--llama-cpp", metavar="PATH", help="also llama.cpp's server; or its URL")
    parser.add_argument("--gguf", type=Path, help="the model it is to load")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
