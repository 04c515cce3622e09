"""Several runs side by side: scores, curves, gradient reach, settings, samples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import PurePath

from training.pages.charts import Chart, Line
from training.pages.page import render_page
from training.pages.report import REACH_STEPS, reach_lines, share_text
from training.run_record import Points, RunRecord

#: What stands where a run has nothing to show.
NOTHING = "–"

_SHARE, _TOKENS = "share of the budget spent", "tokens read"


def render_comparison(runs: Sequence[RunRecord]) -> str:
    """The page as HTML. Names must differ."""
    num_texts = len({_scored_text(run) for run in runs if run.scores is not None})
    return render_page(
        "comparison.html",
        runs=runs,
        scores=_score_table(runs, mark_best=num_texts == 1),
        num_texts=num_texts,
        curves=[chart for chart in _curves(runs) if any(line.points for line in chart.lines)],
        without_curves=[run.name for run in runs if not run.log],
        reach=_reach_chart(runs),
        reach_rows=_reach_rows(runs),
        settings=_side_by_side([run.effective_settings() for run in runs]),
        provenance=_side_by_side([dict(run.provenance) for run in runs]),
        samples=_samples_by_temperature(runs),
        nothing=NOTHING,
    )


def _score_table(
    runs: Sequence[RunRecord], *, mark_best: bool
) -> list[tuple[str, list[tuple[str, bool]]]]:
    """Rows of bits per byte: label, and per run the figure and whether it is the row's best."""
    orders = sorted({order for run in runs if run.scores for order in run.scores.ngram})
    scored = [_bits_per_byte(run) for run in runs]
    labels = ["network, float32", "network, int8 (as served)"]
    labels += [_ngram_label(order) for order in reversed(orders)]
    return [
        (label, _with_best([bits.get(label) for bits in scored], mark=mark_best))
        for label in labels
    ]


def _bits_per_byte(run: RunRecord) -> dict[str, float]:
    """By label, what the run was scored at."""
    if run.scores is None:
        return {}
    scores = {"network, float32": run.scores.float32, "network, int8 (as served)": run.scores.int8}
    scores |= {_ngram_label(order): score for order, score in run.scores.ngram.items()}
    return {label: score.bits_per_byte for label, score in scores.items() if score is not None}


def _ngram_label(order: int) -> str:
    return f"{order}-gram, Kneser-Ney"


def _with_best(figures: Sequence[float | None], *, mark: bool) -> list[tuple[str, bool]]:
    known = [figure for figure in figures if figure is not None]
    best = min(known) if mark and len(set(known)) > 1 else None
    return [
        (NOTHING if figure is None else f"{figure:.4f}", figure is not None and figure == best)
        for figure in figures
    ]


def _scored_text(run: RunRecord) -> tuple[object, int]:
    """What tells whether two runs were scored on the same text: its name and size.

    A held-out text of its own may be the same where the training texts are not.
    """
    assert run.scores is not None
    test = run.settings.get("test")
    source = run.provenance.get("corpus digest") if test is None else PurePath(test).name
    return source, run.scores.float32.num_bytes


def _curves(runs: Sequence[RunRecord]) -> list[Chart]:
    return [
        chart
        for by, x_label in (("share", _SHARE), ("tokens", _TOKENS))
        for chart in (
            _loss_chart(runs, "validation_loss", "Validation", by, x_label),
            _loss_chart(runs, "loss", "Training loss", by, x_label),
            _learning_rate_chart(runs, by, x_label),
        )
    ]


def _loss_chart(runs: Sequence[RunRecord], key: str, title: str, by: str, x_label: str) -> Chart:
    return Chart(
        title=f"{title}, by {x_label}",
        x_label=x_label,
        y_label="bits per byte",
        lines=_lines(runs, [run.bits_per_byte(key, by=by) for run in runs]),
    )


def _learning_rate_chart(runs: Sequence[RunRecord], by: str, x_label: str) -> Chart:
    return Chart(
        title=f"Learning rate, by {x_label}",
        x_label=x_label,
        y_label="learning rate",
        lines=_lines(runs, [run.points("learning_rate", by=by) for run in runs]),
        y_bounds=(0.0, None),
    )


def _lines(runs: Sequence[RunRecord], points: Sequence[Points]) -> list[Line]:
    return [
        Line(label=run.name, points=of_run, series=number)
        for number, (run, of_run) in enumerate(zip(runs, points, strict=True))
    ]


def _reach_chart(runs: Sequence[RunRecord]) -> Chart | None:
    lines = [
        line
        for number, run in enumerate(runs)
        if run.gradient_reach is not None
        for line in reach_lines(run.gradient_reach, run.name, number)
    ]
    if not lines:
        return None
    return Chart(
        title="Gradient reach",
        x_label="steps back",
        y_label="gradient norm, share of that at 0",
        lines=lines,
        log_y=True,
    )


def _reach_rows(runs: Sequence[RunRecord]) -> list[tuple[int, list[str]]]:
    """Steps back, and per run the share of the gradient left there."""
    shares = [run.gradient_reach.shares() if run.gradient_reach else [] for run in runs]
    return [
        (steps, [share_text(left[steps]) if steps < len(left) else NOTHING for left in shares])
        for steps in REACH_STEPS
    ]


def _side_by_side(columns: Sequence[Mapping[str, object]]) -> list[tuple[str, list[str], bool]]:
    """Rows: key, the value of each run, and whether they differ. Those that differ come first."""
    keys = dict.fromkeys(key for column in columns for key in column)
    rows = []
    for key in keys:
        values = [str(column.get(key, NOTHING)) for column in columns]
        rows.append((key, values, len(set(values)) > 1))
    return sorted(rows, key=lambda row: not row[2])


def _samples_by_temperature(
    runs: Sequence[RunRecord],
) -> list[tuple[float, list[tuple[str, str, str]]]]:
    """Temperatures, and per run its name, the prompt and what it wrote."""
    temperatures = sorted({sample.temperature for run in runs for sample in run.samples})
    return [
        (
            temperature,
            [
                (run.name, sample.prompt, sample.text)
                for run in runs
                for sample in run.samples
                if sample.temperature == temperature
            ],
        )
        for temperature in temperatures
    ]
