"""``python -m benchmarks``: the short form, in under five minutes on a machine that is free.

It measures the engine, the service over HTTP, start and memory, and other frameworks' loops; it
prints tables, and with ``--out`` writes ``<model>.json`` and ``<model>.svg``.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks import engine, generate_loop, http_load, start_and_memory
from benchmarks.record import Result, describe_machine, load_average, print_tables
from benchmarks.service_process import running_service
from benchmarks.subject import (
    SHIPPED_BUNDLE,
    Subject,
    check_size,
    published_subject,
    random_subject,
)
from model.errors import ForetokenError


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code."""
    options = _parser().parse_args(arguments)
    try:
        with tempfile.TemporaryDirectory(prefix="foretoken-benchmark-") as folder:
            if options.size:
                subject = random_subject(options.size, Path(folder))
            else:
                subject = published_subject(options.bundle)
            _run(subject, options)
    except (ForetokenError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _run(subject: Subject, options: argparse.Namespace) -> None:
    start = time.perf_counter()
    machine = describe_machine()
    print(_title(subject, machine))
    results = measure(subject, with_crowd=options.crowd, with_loops=not options.no_loops)
    record = {
        "created": int(time.time()),
        "seconds": round(time.perf_counter() - start, 1),
        "machine": machine | {"load_average_after": load_average()},
        "model": subject.describe(),
        "results": [result.to_dict() for result in results],
    }
    print(f"\n{record['seconds']:.0f} s, load average now {load_average()}")
    if options.out:
        _write(record, results, _title(subject, machine), options.out)


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


def _write(record: dict[str, Any], results: Sequence[Result], title: str, folder: Path) -> None:
    from benchmarks.picture import draw  # noqa: PLC0415  matplotlib, only where it is wanted

    folder.mkdir(parents=True, exist_ok=True)
    name = record["model"]["name"]
    json_file, picture = folder / f"{name}.json", folder / f"{name}.svg"
    json_file.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    draw(results, title, picture)
    print(f"written: {json_file} and {picture}")


def _title(subject: Subject, machine: dict[str, Any]) -> str:
    config = subject.config
    load = machine["load_average_before"][0]
    return (
        f"{subject.name}: {config.cell.upper()} {config.num_layers} x {config.hidden_size}, "
        f"vocabulary {config.vocab_size}, {config.num_weights() / 1e6:.1f} M weights, int8; "
        f"{machine['processor']}, {machine['cores']} cores, load average {load} at the start"
    )


def _size(text: str) -> str:
    try:
        return check_size(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", allow_abbrev=False)
    parser.add_argument("--bundle", type=Path, default=SHIPPED_BUNDLE, help="what to measure")
    parser.add_argument(
        "--size", type=_size, help="instead a random LSTM: LAYERSxHIDDEN, such as 2x512"
    )
    parser.add_argument("--out", type=Path, help="folder for JSON and picture")
    parser.add_argument("--crowd", action="store_true", help="also 256 clients: takes long")
    parser.add_argument("--no-loops", action="store_true", help="only ourselves, not the others")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
