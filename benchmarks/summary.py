"""The tables of README and docs/benchmarks.md, made from the JSON files in ``results/``.

    python -m benchmarks.summary            # prints them
    python -m benchmarks.summary --write    # puts them where they belong

A table stands between ``<!-- table: NAME -->`` and ``<!-- end of table -->``. What a benchmark by
itself measured (``<model>-<part>.json``) goes before what the short form did (``<model>.json``).
"""

from __future__ import annotations

import argparse
import json
import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
RESULTS = Path(__file__).resolve().parent / "results"
PAGES = (ROOT / "README.md", ROOT / "docs" / "benchmarks.md")

_PLACE = re.compile(r"(<!-- table: ([\w. ]+) -->\n).*?(<!-- end of table -->)", re.DOTALL)

#: Benchmark, case and metric.
Key = tuple[str, str, str]
Figures = Mapping[Key, Mapping[str, Any]]


@dataclass(frozen=True)
class Model:
    """All that was measured with one model."""

    name: str
    title: str
    figures: Figures


#: What the README shows: label, and where the figure is.
_SUMMARY: tuple[tuple[str, Key], ...] = (
    ("network alone, 1 sequence, tokens/s", ("engine", "1 row, bare step", "tokens/s")),
    ("engine, 1 sequence, tokens/s", ("engine", "1 row, top_p 0.95", "tokens/s")),
    ("engine, 32 sequences, tokens/s", ("engine", "32 rows, top_p 0.95", "tokens/s")),
    ("over HTTP, 1 client, tokens/s", ("http", "1 client", "tokens/s")),
    ("over HTTP, 32 clients, tokens/s", ("http", "32 clients", "tokens/s")),
    ("over HTTP, 256 clients, tokens/s", ("http", "256 clients", "tokens/s")),
    ("streamed, 32 clients, tokens/s", ("http", "32 clients, streamed", "tokens/s")),
    (
        "between tokens, 32 clients, p99, ms",
        ("http", "32 clients, streamed", "ms, between tokens, p99"),
    ),
    ("waiting, 256 clients, p99, ms", ("http", "256 clients, streamed", "ms, first token, p99")),
    ("first token on an idle server, ms", ("http", "1 client, streamed", "ms, first token, p50")),
    ("`/v1/next`, 1 client, ms", ("http", "1 client, /v1/next", "ms, request, p50")),
    ("`/v1/next`, 32 clients, requests/s", ("http", "32 clients, /v1/next", "requests/s")),
    ("start to ready, s", ("start", "start to ready", "seconds")),
    ("memory of the engine, MB", ("memory", "engine, resident", "MB")),
    (
        "Keras, loop compiled, 1 sequence",
        ("generate loop", "1 row, Keras, loop compiled", "tokens/s"),
    ),
    (
        "Keras, loop compiled, 32 sequences",
        ("generate loop", "32 rows, Keras, loop compiled", "tokens/s"),
    ),
    ("PyTorch, 1 sequence, tokens/s", ("generate loop", "1 row, PyTorch", "tokens/s")),
    ("PyTorch, 32 sequences, tokens/s", ("generate loop", "32 rows, PyTorch", "tokens/s")),
)

#: Tables with a row for every figure of a benchmark.
_BENCHMARKS = (
    "engine",
    "http",
    "start",
    "memory",
    "long sequence",
    "overload",
    "generate loop",
    "llama.cpp",
)
#: For whoever looks closer.
_NOT_SHOWN = re.compile(r"cores taken|processor s|share of shared pages|clients?, ms, request, p50")


def read_models(folder: Path = RESULTS) -> list[Model]:
    """Every model there are results of; the one of the shipped bundle first."""
    figures: dict[str, dict[Key, Mapping[str, Any]]] = {}
    titles: dict[str, str] = {}
    for file in sorted(folder.glob("*.json"), key=lambda file: (len(file.name), file.name)):
        record = json.loads(file.read_text("utf-8"))
        if "model" not in record or "results" not in record:
            continue  # of a benchmark that measures no model
        name = record["model"]["name"]
        titles[name] = _title(name, record["model"]["config"])
        for result in record["results"]:
            key = (result["benchmark"], result["case"], result["metric"])
            of_model = figures.setdefault(name, {})
            of_model.pop(key, None)  # what is measured by itself is shown in its own order
            of_model[key] = result
    names = sorted(figures, key=lambda name: (name.startswith("random"), -len(figures[name])))
    return [Model(name, titles[name], figures[name]) for name in names]


def render(page: str, models: Sequence[Model]) -> str:
    """``page`` with every table in it made anew.

    Raises:
        KeyError: it has a place for a table that there is not.
    """
    tables = _tables()
    return _PLACE.sub(lambda place: f"{place[1]}{tables[place[2]](models)}{place[3]}", page)


def _tables() -> dict[str, Callable[[Sequence[Model]], str]]:
    tables: dict[str, Callable[[Sequence[Model]], str]] = {
        "summary": _summary,
        "open loop": _open_loop,
        "processes": _processes,
    }
    for name in _BENCHMARKS:
        tables[name] = _table_of(name)
    return tables


def _summary(models: Sequence[Model]) -> str:
    models = [m for m in models if any(key in m.figures for _, key in _SUMMARY)]
    rows = [(label, [model.figures.get(key) for model in models]) for label, key in _SUMMARY]
    return _by_model("", rows, models)


def _table_of(benchmark: str) -> Callable[[Sequence[Model]], str]:
    def table(models: Sequence[Model]) -> str:
        with_it = [m for m in models if any(key[0] == benchmark for key in m.figures)]
        if not with_it:
            return "Not measured.\n"
        keys = dict.fromkeys(
            key
            for model in with_it
            for key in model.figures
            if key[0] == benchmark and not _NOT_SHOWN.search(f"{key[1]}, {key[2]}")
        )
        rows = [(f"{k[1]}, {k[2]}", [m.figures.get(k) for m in with_it]) for k in keys]
        return _by_model(benchmark, rows, with_it)

    return table


def _by_model(
    title: str,
    rows: Iterable[tuple[str, Sequence[Mapping[str, Any] | None]]],
    models: Sequence[Model],
) -> str:
    lines = [_line([title, *(model.title for model in models)]), _rule(len(models))]
    lines += [_line([label, *map(_shown, cells)]) for label, cells in rows if any(cells)]
    return "".join(lines)


def _open_loop(models: Sequence[Model]) -> str:
    """A row for each rate of arrival; a table for each model."""
    metrics = {
        "requests/s sent": "sent, requests/s",
        "requests/s, first token in 1 s": "first token in 1 s, requests/s",
        "tokens/s": "tokens/s",
        "ms, first token, p50": "first token, p50, ms",
        "ms, first token, p99": "p99, ms",
        "ms, between tokens, p99": "between tokens, p99, ms",
        "requests refused": "refused",
    }
    return _matrices(models, "open loop", lambda key: (key[1], key[2]), metrics)


def _processes(models: Sequence[Model]) -> str:
    """A row for each arrangement, a column for each load; a table for each model."""
    columns = {
        ("1 client", "tokens/s"): "1 client, tokens/s",
        ("32 clients", "tokens/s"): "32 clients, tokens/s",
        ("256 clients", "tokens/s"): "256 clients, tokens/s",
        ("1 client, streamed", "tokens/s"): "1 client, streamed, tokens/s",
        ("1 client, streamed", "ms, first token, p50"): "first token, p50, ms",
        ("32 clients, streamed", "tokens/s"): "32 clients, streamed, tokens/s",
        ("32 clients, streamed", "ms, first token, p99"): "first token, p99, ms",
        ("32 clients, streamed", "ms, between tokens, p99"): "between tokens, p99, ms",
        ("1 client, /v1/next", "ms, request, p50"): "`/v1/next`, 1 client, p50, ms",
        ("32 clients, /v1/next", "requests/s"): "`/v1/next`, 32 clients, requests/s",
        ("memory of all", "MB"): "memory, MB",
    }
    return _matrices(
        models,
        "processes: ",
        lambda key: (key[1], (key[0].partition(": ")[2], key[2])),
        columns,
    )


def _matrices(
    models: Sequence[Model],
    benchmark: str,
    place: Callable[[Key], tuple[str, Any]],
    columns: Mapping[Any, str],
) -> str:
    tables = []
    for model in models:
        cells = {place(key): f for key, f in model.figures.items() if key[0].startswith(benchmark)}
        rows = dict.fromkeys(row for row, _ in cells)
        used = [c for c in columns if any((row, c) in cells for row in rows)]
        lines = [_line([model.title, *(columns[column] for column in used)]), _rule(len(used))]
        for row in rows:
            shown = [_shown(cells.get((row, column))) for column in used]
            lines.append(_line([row, *shown]))
        if rows:
            tables.append("".join(lines))
    return "\n".join(tables) or "Not measured.\n"


def _shown(result: Mapping[str, Any] | None) -> str:
    if result is None or math.isnan(result["median"]):
        return ""
    median, share = float(result["median"]), result["share"]
    text = f"{median:,.0f}" if abs(median) >= 100 or median == int(median) else f"{median:.3g}"
    return text if share is None else f"{text} ({share:.0%})"


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |\n"


def _rule(num_columns: int) -> str:
    return "|---|" + "---:|" * num_columns + "\n"


def _title(name: str, config: Mapping[str, Any]) -> str:
    if name.startswith("random"):
        return f"{config['cell'].upper()} {config['num_layers']} x {config['hidden_size']}"
    return name


def main(arguments: Sequence[str] | None = None) -> int:
    """Prints or writes the tables; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.summary", allow_abbrev=False)
    parser.add_argument("--write", action="store_true", help="into README and docs/benchmarks.md")
    options = parser.parse_args(arguments)
    models = read_models()
    for page in PAGES:
        text = render(page.read_text("utf-8"), models)
        if options.write:
            page.write_text(text, "utf-8")
        else:
            print("\n".join(place[0] for place in _PLACE.finditer(text)))
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
