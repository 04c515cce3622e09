"""How far the preparation is, shown to a person: one live line, or a line now and then."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Literal, TextIO

from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn

from training.corpus import CorpusFile, Document

Pass = Literal["reading", "encoding"]
PASSES: tuple[Pass, ...] = ("reading", "encoding")

_SHOW_SECONDS = 0.2
_PLAIN_SECONDS = 10.0


@dataclass(frozen=True, kw_only=True)
class PrepareStatus:
    """What is shown.

    Attributes:
        doing: which of the two passes over the corpus is under way.
        share: of the work done, 0 to 1.
        megabytes_per_second: of the corpus as it lies on disk, in this pass.
    """

    doing: Pass
    share: float
    megabytes_per_second: float

    def line(self) -> str:
        """The status as one line of text."""
        return f"{self.doing} · {self.megabytes_per_second:.1f} MB/s"


#: Shows one status.
Show = Callable[[PrepareStatus], None]


class PrepareProgress:
    """Follows the two passes over ``files`` and reports some times a second."""

    def __init__(self, files: Sequence[CorpusFile], show: Show | None) -> None:
        """Begin; ``show`` is what to call, if anything."""
        self._show = show
        self._before = [0]
        for file in files:
            self._before.append(self._before[-1] + file.size_bytes)
        self._doing: Pass | None = None
        self._began = self._last = 0.0

    def update(self, doing: Pass, document: Document) -> None:
        """``document`` was reached in the pass ``doing``."""
        now = time.monotonic()
        if doing != self._doing:
            self._doing, self._began, self._last = doing, now, 0.0
        if self._show is None or now - self._last < _SHOW_SECONDS:
            return
        self._last = now
        done = self._before[document.file_index] + document.offset_bytes
        self._show(
            PrepareStatus(
                doing=doing,
                share=(PASSES.index(doing) + done / self._before[-1]) / len(PASSES),
                megabytes_per_second=done / 1e6 / max(now - self._began, 1e-3),
            )
        )


@contextmanager
def prepare_progress(stream: TextIO) -> Iterator[Show]:
    """A function that shows a status on ``stream``, as suits it, while the context lasts."""
    if stream.isatty():
        columns = (
            TextColumn("prepare"),
            BarColumn(bar_width=24),
            TextColumn("{task.percentage:3.0f} %"),
            TextColumn("{task.fields[line]}"),
        )
        with Progress(*columns, console=Console(file=stream)) as bar:
            task = bar.add_task("prepare", total=1.0, line="")
            yield lambda status: bar.update(task, completed=status.share, line=status.line())
    else:
        yield _plain_lines(stream)


def _plain_lines(stream: TextIO) -> Show:
    last = time.monotonic()

    def show(status: PrepareStatus) -> None:
        nonlocal last
        if time.monotonic() - last >= _PLAIN_SECONDS:
            last = time.monotonic()
            stream.write(f"prepare {status.share:4.0%} · {status.line()}\n")
            stream.flush()

    return show
