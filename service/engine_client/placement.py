"""Which engine gets which jobs: ``spread``, pure, and ``Readers``, who has read what lately.

Each job goes to the engine that holds the fewest; the jobs of one request go to several, where that
evens them out: what an engine answers is the same, bit for bit, as what another would. Of engines
that hold as many, the one that has read the beginning of the prompt before is asked, else the
first: one client alone has one engine, whose network stays in that core's cache.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from service.engine.request import Job

#: Prompts that have so many tokens in common at the beginning belong together; shorter ones are
#: read anew in no time.
_BEGINNING_TOKENS = 16
_MAX_BEGINNINGS = 4096


@dataclass(frozen=True, slots=True)
class Load:
    """An engine as jobs are placed: how many it holds, and how many more it has room for."""

    held: int
    room: int


def total_room(loads: Sequence[Load]) -> int:
    """How many more jobs the engines have room for together."""
    return sum(max(0, load.room) for load in loads)


def spread(num_jobs: int, loads: Sequence[Load], favourite: int | None = None) -> list[int] | None:
    """How many of ``num_jobs`` each of the engines gets; None: they have no room for all.

    Args:
        num_jobs: at least 1.
        loads: of the engines.
        favourite: index of the engine that is asked first, of those that hold as few.
    """
    if num_jobs > total_room(loads):
        return None
    counts = [0] * len(loads)
    for _ in range(num_jobs):
        _, _, index = min(
            (load.held + counts[index], index != favourite, index)
            for index, load in enumerate(loads)
            if load.room > counts[index]
        )
        counts[index] += 1
    return counts


class Readers:
    """Which engine has read a prompt's beginning last, for as many as are worth remembering."""

    def __init__(self) -> None:
        self._engines: OrderedDict[int, str] = OrderedDict()

    def find(self, job: Job) -> str | None:
        """The address of the engine that knows the beginning of the job's prompt."""
        beginning = _beginning(job)
        return None if beginning is None else self._engines.get(beginning)

    def note(self, job: Job, engine: str) -> None:
        """The engine at that address reads the job's prompt now."""
        beginning = _beginning(job)
        if beginning is None:
            return
        self._engines[beginning] = engine
        self._engines.move_to_end(beginning)
        if len(self._engines) > _MAX_BEGINNINGS:
            self._engines.popitem(last=False)


def _beginning(job: Job) -> int | None:
    """A number for it: two that share one by chance cost a prompt's reading, nothing more."""
    if job.state is not None or len(job.prompt_token_ids) < _BEGINNING_TOKENS:
        return None
    return hash(job.prompt_token_ids[:_BEGINNING_TOKENS])
