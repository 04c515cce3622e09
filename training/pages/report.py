"""``report.html`` of a bundle: scores, curves, gradient reach, samples, settings, origin."""

from __future__ import annotations

from collections.abc import Sequence

from model.bundle.manifest import Scores
from training.pages.charts import Chart, Line
from training.pages.page import render_page
from training.reach_curve import GradientReach
from training.run_record import RunRecord

#: Steps back whose share of the gradient is written out.
REACH_STEPS = (1, 2, 5, 10, 20, 50, 100, 200)


def render_report(run: RunRecord) -> str:
    """The page as HTML; it carries ``run``, for ``training.run_record.embedded_record``."""
    reach = run.gradient_reach
    return render_page(
        "report.html",
        run=run,
        scores=[] if run.scores is None else score_rows(run.scores),
        curves=[_loss_chart(run), _learning_rate_chart(run)],
        reach=None if reach is None else _reach_chart(reach),
        reach_rows=[] if reach is None else reach_rows(reach),
        settings=run.effective_settings(),
    )


def score_rows(scores: Scores) -> list[tuple[str, str, str, str]]:
    """The table of scores: model, nats per token, perplexity, bits per byte; best known last."""
    rows = [(f"{order}-gram, Kneser-Ney", score) for order, score in sorted(scores.ngram.items())]
    if scores.int8 is not None:
        rows.append(("network, int8 (as served)", scores.int8))
    rows.append(("network, float32", scores.float32))
    return [
        (
            label,
            f"{score.nats_per_token:.4f}",
            f"{score.perplexity:,.2f}",
            f"{score.bits_per_byte:.4f}",
        )
        for label, score in rows
    ]


def reach_rows(reach: GradientReach) -> list[tuple[str, str]]:
    """Steps back, and the share of the gradient left there."""
    shares = reach.shares()
    return [(str(steps), share_text(shares[steps])) for steps in REACH_STEPS if steps < len(shares)]


def share_text(share: float) -> str:
    """A share for a person: ``12 %``, ``0.034 %``, ``2e-07 %``."""
    return f"{100 * share:.2g} %" if share < 0.995 else f"{100 * share:,.0f} %"


def reach_lines(reach: GradientReach, label: str, series: int) -> Sequence[Line]:
    """The curves of one network: what is left of the gradient, by steps back.

    Zeros are left out: the axis is logarithmic.
    """
    start = reach.hidden[0] or 1.0
    tensors = {"cell state c": reach.cell, "hidden state h": reach.hidden}
    kept = {name: norms for name, norms in tensors.items() if norms}
    return [
        Line(
            label=f"{label}, {name}".removeprefix(", ") if len(kept) > 1 else label or name,
            points=[(k, norm / start) for k, norm in enumerate(norms) if norm > 0.0],
            series=series,
            thin=len(kept) > 1 and norms is reach.hidden,
        )
        for name, norms in kept.items()
    ]


def _reach_chart(reach: GradientReach) -> Chart:
    return Chart(
        title="Gradient reach",
        x_label="steps back",
        y_label="gradient norm, share of that at 0",
        lines=reach_lines(reach, "", 0),
        log_y=True,
    )


def _loss_chart(run: RunRecord) -> Chart:
    return Chart(
        title="Loss",
        x_label="share of the budget spent",
        y_label="nats per token",
        lines=[
            Line(label="training", points=run.points("loss"), series=0, thin=True),
            Line(label="validation", points=run.points("validation_loss"), series=1),
        ],
    )


def _learning_rate_chart(run: RunRecord) -> Chart:
    return Chart(
        title="Learning rate",
        x_label="share of the budget spent",
        y_label="learning rate",
        lines=[Line(label="learning rate", points=run.points("learning_rate"), series=2)],
        y_bounds=(0.0, None),
    )
