"""Line charts as SVG, for pages and for pictures on their own.

Inside a page, colours are the page's variables, so that a chart follows it from light to dark. A
line is told from the others by its dashes as well as by its colour, and the chart is told in words
to whoever does not see it.
"""

from __future__ import annotations

import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from markupsafe import Markup, escape
from matplotlib import rc_context
from matplotlib.figure import Figure
from matplotlib.ticker import EngFormatter

#: The page's ``--series-1`` and so on, as they are in light; told apart by the colour-blind too
#: (after Okabe & Ito 2008, Color Universal Design).
SERIES_COLOURS = ("#0b6fb3", "#c2410c", "#0f8a5f", "#a3358a", "#8a6d00", "#5b6470")
_DASHES = ("-", (0, (6, 2)), (0, (2, 1.5)), (0, (7, 2, 2, 2)), (0, (1, 1)), (0, (9, 3)))

_INK, _GRID = "#22262b", "#d5d9de"
_VARIABLES = {
    _INK: "var(--ink)",
    _GRID: "var(--grid)",
    **{colour: f"var(--series-{number})" for number, colour in enumerate(SERIES_COLOURS, 1)},
}

_STYLE = {
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _INK,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _GRID,
    "axes.facecolor": "none",
}


@dataclass(frozen=True, kw_only=True)
class Line:
    """One line of a chart.

    Attributes:
        label: for the legend.
        points: (x, y) in the order of x; at least one.
        series: which colour and dashes, from 0.
        thin: a lighter line of the same colour, for what belongs to another line.
        marked: a dot at every point.
        bounds: (low, high) of each point, shaded; or none.
    """

    label: str
    points: Sequence[tuple[float, float]]
    series: int = 0
    thin: bool = False
    marked: bool = False
    bounds: Sequence[tuple[float, float]] = ()


@dataclass(frozen=True, kw_only=True)
class Chart:
    """What to draw. With no lines, the axes alone.

    Attributes:
        title: above the chart; unique on its page.
        x_label: of the horizontal axis.
        y_label: of the vertical axis.
        lines: to draw; those without points are left out.
        log_x: logarithmic horizontal axis, with a tick at each point.
        log_y: logarithmic vertical axis.
        level: a horizontal line with its label.
        y_bounds: of the vertical axis; None follows the lines.
        note: one or two sentences below the chart.
    """

    title: str
    x_label: str
    y_label: str
    lines: Sequence[Line]
    log_x: bool = False
    log_y: bool = False
    level: tuple[float, str] | None = None
    y_bounds: tuple[float | None, float | None] | None = None
    note: str = ""

    @property
    def description(self) -> str:
        """The chart in words."""
        told = [
            f"{line.label}: {line.points[0][1]:.3g} at {line.points[0][0]:.3g}, "
            f"{line.points[-1][1]:.3g} at {line.points[-1][0]:.3g}"
            for line in self.lines
            if line.points
        ]
        told += [f"{self.level[1]}: {self.level[0]:.3g} throughout"] if self.level else []
        return (
            f"Line chart, {self.title}: {self.y_label} by {self.x_label}. "
            f"{'; '.join(told) or 'no values yet'}."
        )

    @property
    def figure(self) -> Markup:
        """The chart as a ``<figure>`` for a page."""
        svg = self._svg()
        for colour, variable in _VARIABLES.items():
            svg = svg.replace(colour, variable)
        note = f"<p>{escape(self.note)}</p>" if self.note else ""
        return Markup(
            f"<figure><figcaption><b>{escape(self.title)}</b>{note}</figcaption>"
            f"{_for_page(svg, self.title, self.description)}</figure>"
        )

    def picture(self) -> str:
        """The chart as an SVG file of its own, on white."""
        return self._svg(facecolor="white", title=self.title)

    def _svg(self, facecolor: str = "none", title: str | None = None) -> str:
        """The same text for the same chart."""
        with rc_context({**_STYLE, "svg.hashsalt": self.title}):
            figure = Figure(figsize=(5.4, 3.3), layout="constrained", facecolor=facecolor)
            axes = figure.add_subplot()
            if title:
                axes.set_title(title, loc="left", fontsize=10)
            self._draw(axes)
            buffer = io.StringIO()
            metadata = dict.fromkeys(("Creator", "Date", "Format", "Type"))
            figure.savefig(buffer, format="svg", metadata=metadata)
        return buffer.getvalue()

    def _draw(self, axes: Any) -> None:  # noqa: ANN401 - matplotlib has no types
        axes.set_xlabel(self.x_label)
        axes.set_ylabel(self.y_label)
        axes.grid()
        axes.spines[["top", "right"]].set_visible(False)
        drawn = [line for line in self.lines if line.points]
        for line in drawn:
            _draw_line(axes, line)
        if self.level:
            axes.axhline(self.level[0], color=_INK, linewidth=1, linestyle=":", label=self.level[1])
        self._scale(axes, drawn)
        if len(drawn) > 1 or self.level:
            axes.legend(frameon=False, fontsize=9, handlelength=3)

    def _scale(self, axes: Any, drawn: Sequence[Line]) -> None:  # noqa: ANN401
        if drawn and max(x for line in drawn for x, _ in line.points) >= 1000:
            axes.xaxis.set_major_formatter(EngFormatter(sep=""))
        if self.log_y and drawn:
            axes.set_yscale("log")
        if self.log_x and drawn:
            axes.set_xscale("log")
            ticks = sorted({x for line in drawn for x, _ in line.points})
            axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
            axes.set_xticks([], minor=True)
        if self.y_bounds:
            axes.set_ylim(*self.y_bounds)


def _draw_line(axes: Any, line: Line) -> None:  # noqa: ANN401
    colour = SERIES_COLOURS[line.series % len(SERIES_COLOURS)]
    places, values = zip(*line.points, strict=True)
    axes.plot(
        places,
        values,
        label=line.label,
        color=colour,
        linestyle=_DASHES[line.series % len(_DASHES)],
        linewidth=1.0 if line.thin else 2.0,
        alpha=0.6 if line.thin else 1.0,
        marker="o" if line.marked or len(values) == 1 else None,
        markersize=4,
    )
    if line.bounds:
        low, high = zip(*line.bounds, strict=True)
        axes.fill_between(places, low, high, color=colour, alpha=0.15, linewidth=0)


def _for_page(svg: str, title: str, description: str) -> str:
    """The SVG element of ``svg``, its ids made the page's own, with its description."""
    element = svg[svg.index("<svg") :].rstrip()
    prefix = re.sub(r"\W+", "-", title.lower())
    element = re.sub(r'(\bid="|href="#|url\(#)', rf"\g<1>{prefix}-", element)
    return element.replace("<svg", f'<svg role="img" aria-label="{escape(description)}"', 1)
