"""``report.html``: one self-contained page with curves, scores, samples, settings, provenance."""

from __future__ import annotations

import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
from matplotlib import rc_context
from matplotlib.figure import Figure

from model.bundle.manifest import Scores

_TEMPLATE = Path(__file__).with_name("report.html")


@dataclass(frozen=True)
class Sample:
    """A text written by the trained network.

    Attributes:
        prompt: what it had to go on from.
        temperature: of the sampling.
        text: what it wrote.
    """

    prompt: str
    temperature: float
    text: str


def render_report(
    *,
    name: str,
    facts: Mapping[str, object],
    scores: Scores,
    log: Sequence[Mapping[str, Any]],
    samples: Sequence[Sample],
    settings: Mapping[str, object],
    provenance: Mapping[str, object],
) -> str:
    """The page as HTML.

    Args:
        name: of the bundle.
        facts: the model in a few lines, label to value.
        scores: as in the manifest.
        log: records of ``log.jsonl``.
        samples: texts the network wrote.
        settings: all settings of the run.
        provenance: corpus, seed, machine, time.
    """
    template = jinja2.Template(
        _TEMPLATE.read_text(encoding="utf-8"), autoescape=True, undefined=jinja2.StrictUndefined
    )
    page: str = template.render(
        name=name,
        facts=facts,
        scores=score_rows(scores),
        curves=[_loss_curve(log), _learning_rate_curve(log)],
        samples=samples,
        settings=settings,
        provenance=provenance,
    )
    return page


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


def _loss_curve(log: Sequence[Mapping[str, Any]]) -> str:
    figure, axes = _axes("loss, nats per token")
    for key, label, style in (
        ("loss", "training", {"linewidth": 1.0, "color": "#8aa4c8"}),
        ("validation_loss", "validation", {"linewidth": 1.8, "color": "#c0392b"}),
    ):
        points = [(record["step"], record[key]) for record in log if key in record]
        if points:
            axes.plot(*zip(*points, strict=True), label=label, **style)
            axes.legend(frameon=False)
    return _svg(figure, "loss")


def _learning_rate_curve(log: Sequence[Mapping[str, Any]]) -> str:
    figure, axes = _axes("learning rate")
    points = [(record["step"], record["learning_rate"]) for record in log if "loss" in record]
    if points:
        axes.plot(*zip(*points, strict=True), color="#2c7a4b", linewidth=1.5)
    axes.set_ylim(bottom=0.0)
    return _svg(figure, "learning rate")


def _axes(title: str) -> tuple[Figure, Any]:
    figure = Figure(figsize=(6.4, 3.4), layout="constrained")
    axes = figure.add_subplot()
    axes.set_title(title, loc="left", fontsize=10)
    axes.set_xlabel("step")
    axes.grid(alpha=0.25)
    axes.spines[["top", "right"]].set_visible(False)
    return figure, axes


def _svg(figure: Figure, name: str) -> str:
    """The figure as an SVG element, without the XML prologue, for use inside HTML.

    Its ids follow from ``name``: unlike those of the other figures, the same in every run.
    """
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": name}):
        figure.savefig(buffer, format="svg", metadata={"Date": None})
    text = buffer.getvalue()
    return text[text.index("<svg") :]
