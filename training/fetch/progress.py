"""How far the fetching is, shown to a person: a line per text, and a live one on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from training.fetch.fetched import FetchedText

_LONGEST_QUIET_WAIT = 5.0


class FetchProgress:
    """Tells what becomes of each of ``num_sources`` texts.

    Args:
        num_sources: how many there are.
        console: where lines go.
        bar: live, or None.
    """

    def __init__(self, num_sources: int, console: Console, bar: Progress | None) -> None:
        self.num_fetched = 0
        self.num_there = 0
        self._num_sources = num_sources
        self._num_done = 0
        self._console = console
        self._bar = bar
        self._task = None if bar is None else bar.add_task("fetch", total=num_sources, line="")

    def receiving(self, name: str, num_bytes: int, total: int | None) -> None:
        """Bytes of ``name`` have come."""
        of_all = "" if total is None else f" of {total / 1e6:.1f}"
        share = 0.0 if not total else num_bytes / total
        self._show(f"{name} · {num_bytes / 1e6:.1f}{of_all} MB", self._num_done + share)

    def waiting(self, reason: str, seconds: float) -> None:
        """Nothing is asked for during ``seconds``."""
        line = f"{reason}; trying again in {seconds:.0f} s"
        self._show(line, self._num_done)
        if self._bar is None or seconds > _LONGEST_QUIET_WAIT:
            self._say(line)

    def fetched(self, name: str, text: FetchedText) -> None:
        """``name`` is complete."""
        self.num_fetched += 1
        about = [part for part in (text.author, text.title) if part]
        self._done(" · ".join([name, f"{text.bytes / 1e6:.2f} MB", ": ".join(about)]).rstrip(" ·"))

    def was_there(self, name: str) -> None:
        """``name`` was fetched before."""
        self.num_there += 1
        self._num_done += 1
        self._show(f"{name} is there", self._num_done)

    def failed(self, message: str) -> None:
        """A text will not come."""
        self._done(f"failed: {message}")

    def _done(self, line: str) -> None:
        self._num_done += 1
        self._show("", self._num_done)
        self._say(f"{self._num_done}/{self._num_sources} · {line}")

    def _say(self, line: str) -> None:
        self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def _show(self, line: str, done: float) -> None:
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, completed=done, line=line)


@contextmanager
def fetch_progress(stream: TextIO, num_sources: int) -> Iterator[FetchProgress]:
    """Progress on ``stream``, as suits it, while the context lasts."""
    console = Console(file=stream)
    if not stream.isatty():
        yield FetchProgress(num_sources, console, None)
        return
    columns = (
        TextColumn("fetch"),
        BarColumn(bar_width=24),
        TextColumn("{task.percentage:3.0f} %"),
        TextColumn("{task.fields[line]}", markup=False),
    )
    with Progress(*columns, console=console) as bar:
        yield FetchProgress(num_sources, console, bar)
