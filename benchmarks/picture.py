"""One picture, ``draw``: the rates, and how long one waits the busier it gets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib as mpl

from benchmarks import engine, generate_loop, http_load, llama_cpp
from benchmarks.record import Result, find_median

_COLOURS = {"model alone": "#9aa5b1", "Foretoken": "#1b6ca8", "alternative": "#d08c2f"}


def draw(results: Sequence[Result], title: str, file: Path) -> None:
    """Draws tokens a second for one and for 32 sequences at a time, and the open loop, as SVG."""
    mpl.use("svg")
    from matplotlib import pyplot  # noqa: PLC0415  once the backend is chosen

    mpl.rcParams["svg.hashsalt"] = "foretoken"
    figure, axes = pyplot.subplots(1, 3, figsize=(15, 3.6), layout="constrained")
    _draw_waiting(axes[2], results)
    for axis, num_rows in zip(axes[:2], (1, 32), strict=True):
        bars = _bars(results, num_rows)
        labels = [label for label, _, _ in bars]
        rates = [rate for _, rate, _ in bars]
        drawn = axis.barh(labels, rates, color=[_COLOURS[kind] for _, _, kind in bars])
        axis.bar_label(drawn, [f"{rate:,.0f}" for rate in rates], padding=3, fontsize=9)
        axis.set_title("one sequence" if num_rows == 1 else f"{num_rows} at a time", fontsize=10)
        axis.set_xlabel("tokens/s")
        axis.margins(x=0.18)
        axis.invert_yaxis()
        axis.spines[["top", "right"]].set_visible(False)
    figure.suptitle(title, fontsize=10)
    figure.savefig(file, metadata={"Date": None})
    pyplot.close(figure)


def _draw_waiting(axis: Any, results: Sequence[Result]) -> None:  # noqa: ANN401  untyped library
    """Seconds to the first token against the rate at which requests arrive at random."""
    rates = [result for result in results if _is_rate(result)]
    arrivals = [result.median for result in rates]
    for percent, style in ((50, "o-"), (99, "s--")):
        metric = f"ms, first token, p{percent}"
        waits = [find_median(results, result.case, metric) for result in rates]
        axis.plot(arrivals, waits, style, color=_COLOURS["Foretoken"], label=f"p{percent}")
    axis.set_title("arrivals at random: waiting for the first token", fontsize=10)
    axis.set_xlabel("requests/s, 128 tokens each, streamed")
    axis.set_ylabel("ms")
    axis.set_yscale("log")
    axis.spines[["top", "right"]].set_visible(False)
    axis.legend(frameon=False)


def _is_rate(result: Result) -> bool:
    return result.benchmark == "open loop" and result.metric == "requests/s sent"


def _bars(results: Sequence[Result], num_rows: int) -> list[tuple[str, float, str]]:
    """(label, tokens/s, kind) of what was measured, in the order of the path of a request."""
    plain, streamed = (
        (http_load.ONE_PLAIN, http_load.ONE_STREAMED)
        if num_rows == 1
        else (http_load.MANY_PLAIN, http_load.MANY_STREAMED)
    )
    candidates = [
        ("bare step", engine.case_of(num_rows, engine.BARE), "model alone"),
        *(
            (f"engine, {name}", engine.case_of(num_rows, name), "Foretoken")
            for name in engine.SAMPLINGS
        ),
        ("over HTTP", plain.name, "Foretoken"),
        ("over HTTP, streamed", streamed.name, "Foretoken"),
        *(
            (loop, engine.case_of(num_rows, loop), "alternative")
            for loop in (
                generate_loop.STEP_LOOP,
                generate_loop.COMPILED_LOOP,
                generate_loop.TORCH_LOOP,
            )
        ),
        ("llama.cpp's server", llama_cpp.CASES[plain].name, "alternative"),
    ]
    medians = ((label, find_median(results, case), kind) for label, case, kind in candidates)
    return [(label, rate, kind) for label, rate, kind in medians if rate is not None]
