"""Which engine gets which jobs: ``spread`` and ``join``, pure; who holds and has read what.

Each job goes to the engine that holds the fewest; the jobs of one request go to several, where that
evens them out: what an engine answers is the same, bit for bit, as what another would. Of engines
that hold as many, the one that has read the beginning of the prompt before is asked, else the
first: one client alone has one engine, whose network stays in that core's cache.

A *brief* job, a short prompt of which only scores are wanted, goes where others like it are: side
by side they cost the network half of what they do one by one, and one engine answers more of them
than one HTTP worker can ask for.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from service.engine.request import Job

#: Prompts that have so many tokens in common at the beginning belong together; shorter ones are
#: read anew in no time.
_BEGINNING_TOKENS = 16
_MAX_BEGINNINGS = 4096
#: The longest prompt of a brief job: some milliseconds of an engine's time.
_MAX_BRIEF_TOKENS = 64


@dataclass(frozen=True, slots=True)
class Load:
    """An engine as jobs are placed.

    Attributes:
        held: how many jobs it holds.
        room: how many more it has room for.
        brief: how many of those held are brief jobs of the process that asks.
    """

    held: int
    room: int
    brief: int = 0


class Tally:
    """How many jobs an engine holds for this process, and how many of them are brief.

    Added by whoever holds the client's lock, taken off by the client's thread alone.
    """

    def __init__(self) -> None:
        self._num_added = self._num_brief_added = 0
        self._num_gone = self._num_brief_gone = 0

    @property
    def num_jobs(self) -> int:
        """All jobs."""
        return self._num_added - self._num_gone

    @property
    def num_brief(self) -> int:
        """The brief ones among them."""
        return self._num_brief_added - self._num_brief_gone

    def add(self, jobs: Iterable[Job]) -> None:
        """These are sent to the engine."""
        for job in jobs:
            self._num_added += 1
            self._num_brief_added += is_brief(job)

    def take_off(self, jobs: Iterable[Job]) -> None:
        """The engine does not hold these any more, or never did."""
        for job in jobs:
            self._num_gone += 1
            self._num_brief_gone += is_brief(job)


def is_brief(job: Job) -> bool:
    """Whether all that is wanted of ``job`` is what its short prompt tells."""
    num_tokens = len(job.prompt_token_ids)
    return job.max_tokens == 0 and job.growth is None and num_tokens <= _MAX_BRIEF_TOKENS


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


def join(loads: Sequence[Load], favourite: int | None = None, first: int = 0) -> list[int] | None:
    """How many jobs each of the engines gets, of a single brief one; None: none has room.

    It goes where the fewest others are that are not brief.

    Args:
        loads: of the engines.
        favourite: index of the engine that is asked first, of those that hold as few.
        first: index of the one that is asked first where there is no favourite.
    """
    ranked = [
        (load.held - load.brief, index != favourite, (index - first) % len(loads), index)
        for index, load in enumerate(loads)
        if load.room > 0
    ]
    if not ranked:
        return None
    *_, chosen = min(ranked)
    return [int(index == chosen) for index in range(len(loads))]


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
