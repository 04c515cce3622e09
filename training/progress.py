"""How far training is, shown to a person: one live line on a terminal, else a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

PLAIN_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class TrainingStatus:
    """What is shown.

    Attributes:
        share: of the budget spent, 0 to 1.
        step: updates made.
        tokens_per_second: read in training, lately.
        loss: training loss, nats per token, lately.
        validation_loss: of the last validation, nats per token.
        seconds_left: None where the budget is steps and none was timed yet.
    """

    share: float
    step: int
    tokens_per_second: float
    loss: float
    validation_loss: float | None
    seconds_left: float | None

    def line(self) -> str:
        """The status as one line of text."""
        parts = [
            f"step {self.step}",
            f"{self.tokens_per_second:,.0f} tokens/s",
            f"loss {self.loss:.3f}",
        ]
        if self.validation_loss is not None:
            parts.append(f"validation {self.validation_loss:.3f}")
        if self.seconds_left is not None:
            parts.append(f"{clock_time(self.seconds_left)} left")
        return " · ".join(parts)


#: Shows one status.
Show = Callable[[TrainingStatus], None]


def clock_time(seconds: float) -> str:
    """``seconds`` as 0:07, 12:34 or 1:02:03."""
    minutes, rest = divmod(max(0, round(seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


@contextmanager
def training_progress(stream: TextIO) -> Iterator[Show]:
    """A function that shows a status on ``stream``, as suits it, while the context lasts."""
    with shown_progress(stream, "train") as show:
        yield lambda status: show(status.share, status.line())


@contextmanager
def shown_progress(stream: TextIO, label: str) -> Iterator[Callable[[float, str], None]]:
    """A function that shows a share done, 0 to 1, and a line of text on ``stream``.

    A terminal gets one live line under ``label``; anything else a line now and then.
    """
    if stream.isatty():
        console = Console(file=stream)
        columns = (
            TextColumn(label),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.fields[line]}"),
        )
        with Progress(*columns, console=console) as bar:
            task = bar.add_task(label, total=1.0, line="")
            yield lambda share, line: bar.update(task, completed=share, line=line)
    else:
        yield _plain_lines(stream, label)


def _plain_lines(stream: TextIO, label: str) -> Callable[[float, str], None]:
    last = -PLAIN_SECONDS

    def show(share: float, line: str) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= PLAIN_SECONDS or share >= 1.0:
            last = now
            stream.write(f"{label} {share:4.0%} · {line}\n")
            stream.flush()

    return show
