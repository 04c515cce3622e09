"""The page of ``python -m training remember``: two pictures, and the tables behind them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from training.memory_measurements import RecallResult, TextResult
from training.pages.charts import Chart, Line
from training.pages.page import render_page
from training.pages.report import REACH_STEPS, reach_lines, share_text
from training.recall_task import CHANCE, RecallSequences

#: Kinds of model as they are called in prose.
NAMES = {"simple_rnn": "SimpleRNN", "gru": "GRU", "lstm": "LSTM"}


def render_memory(
    texts: Sequence[TextResult],
    recalls: Sequence[RecallResult],
    *,
    example: RecallSequences,
    facts: Mapping[str, object],
) -> str:
    """The page as HTML.

    Args:
        texts: of the cells trained on the text.
        recalls: of the models tested on the recall task.
        example: a short sequence of the task.
        facts: how both were trained, label to value.
    """
    return render_page(
        "memory.html",
        texts=texts,
        recalls=recalls,
        names=NAMES,
        reach=reach_chart(texts),
        reach_rows=_reach_rows(texts),
        recall=recall_chart(recalls),
        recall_rows=_recall_rows(recalls),
        example=example.as_text(0),
        chance=CHANCE,
        facts=facts,
    )


def reach_chart(texts: Sequence[TextResult]) -> Chart:
    """The gradient reach of all cells."""
    return Chart(
        title="Gradient reach",
        x_label="steps back",
        y_label="gradient norm, share of that at 0",
        lines=[
            line
            for number, text in enumerate(texts)
            for line in reach_lines(text.reach, NAMES[text.cell], number)
        ],
        log_y=True,
    )


def recall_chart(recalls: Sequence[RecallResult]) -> Chart:
    """Accuracy by distance of all models, between their worst and best repeat, and chance."""
    return Chart(
        title="Words recalled, by distance",
        x_label="steps from the word to its recall",
        y_label="share recalled",
        lines=[
            Line(
                label=NAMES.get(recall.model, recall.model),
                points=list(zip(recall.distances, recall.means(), strict=True)),
                bounds=recall.bounds(),
                series=number,
                marked=True,
            )
            for number, recall in enumerate([*recalls[1:], recalls[0]])
        ],
        log_x=True,
        level=(CHANCE, "chance"),
        y_bounds=(0.0, 1.05),
    )


def _reach_rows(texts: Sequence[TextResult]) -> list[tuple[int, list[str]]]:
    """Steps back, and for each cell the share of the gradient left there."""
    shares = [text.reach.shares() for text in texts]
    return [
        (steps, [share_text(left[steps]) for left in shares])
        for steps in REACH_STEPS
        if all(steps < len(left) for left in shares)
    ]


def _recall_rows(recalls: Sequence[RecallResult]) -> list[tuple[int, list[str]]]:
    """Distance, and for each model the share recalled, with the bounds where they differ."""
    columns = [list(zip(recall.means(), recall.bounds(), strict=True)) for recall in recalls]
    return [
        (distance, [_recalled(*column[number]) for column in columns])
        for number, distance in enumerate(recalls[0].distances)
    ]


def _recalled(mean: float, bounds: tuple[float, float]) -> str:
    low, high = bounds
    spread = f" ({100 * low:.0f} to {100 * high:.0f})" if high - low >= 0.005 else ""
    return f"{100 * mean:.0f} %{spread}"
