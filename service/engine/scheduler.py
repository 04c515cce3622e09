"""Who runs and who waits: ``Scheduler``. Pure: no model, no clock, no I/O; time is passed in.

**Admission.** A free slot goes to the client with the fewest jobs running, among those with a job
waiting; of equals, to the one whose oldest waiting job has waited longest. Within a client it goes
to the request, jobs submitted together, with the fewest jobs running, of equals to the oldest; and
within a request, first come first served. So a client with a hundred jobs in the queue delays
another's one job until one slot becomes free, and a further one of its own no longer; and nothing
starves: whoever has nothing running stands before whatever arrives later, and whoever has something
running waits, at worst, for that to end.
"""

from __future__ import annotations

import heapq
import itertools
import math
from collections import Counter
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

Key = TypeVar("Key", bound=Hashable)
_Counted = TypeVar("_Counted", str, int)
Timeout = Literal["queue_timeout", "request_timeout"]

_QUEUE_TIMEOUT: Timeout = "queue_timeout"
_REQUEST_TIMEOUT: Timeout = "request_timeout"

#: Share of the newest job in the running mean of how long jobs hold a slot.
_NEWEST_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Ticket(Generic[Key]):
    """A job as the scheduler sees it.

    Attributes:
        key: what to call it.
        client: whom to be fair to.
        queue_deadline: when it stops waiting.
        deadline: when it stops waiting or running.
    """

    key: Key
    client: str = ""
    queue_deadline: float | None = None
    deadline: float | None = None


@dataclass(frozen=True, slots=True)
class Admission(Generic[Key]):
    """A job that leaves the queue for ``slot`` after ``queue_seconds``; ``request`` numbers its."""

    key: Key
    request: int
    slot: int
    queue_seconds: float


@dataclass(frozen=True, slots=True)
class Expiry(Generic[Key]):
    """A job past a deadline, taken out. ``slot`` is the one it held, None if it waited."""

    key: Key
    reason: Timeout
    slot: int | None
    queue_seconds: float


@dataclass(slots=True)
class _Waiting(Generic[Key]):
    ticket: Ticket[Key]
    request: int
    order: int
    since: float


@dataclass(slots=True)
class _Running(Generic[Key]):
    ticket: Ticket[Key]
    request: int
    order: int
    slot: int
    since: float
    queue_seconds: float


class Scheduler(Generic[Key]):
    """Slots for ``max_running`` jobs and a queue for ``max_queue`` more.

    Jobs that are submitted find room if, with them, no more than ``max_running + max_queue`` run
    and wait: free slots count, since they are filled before the next step.
    """

    def __init__(self, max_running: int, max_queue: int) -> None:
        self.max_running = max_running
        self.max_queue = max_queue
        self._free_slots = list(reversed(range(max_running)))
        self._running: dict[Key, _Running[Key]] = {}
        self._waiting: dict[Key, _Waiting[Key]] = {}
        # Of each client each request, in order; of each request the jobs that wait.
        self._queues: dict[str, dict[int, dict[Key, _Waiting[Key]]]] = {}
        self._num_running: Counter[str] = Counter()
        self._num_running_of_request: Counter[int] = Counter()
        self._deadlines: list[tuple[float, int, bool, Key]] = []
        self._order = itertools.count()
        self._requests = itertools.count()
        self._mean_run_seconds: float | None = None

    @property
    def num_running(self) -> int:
        """Jobs holding a slot."""
        return len(self._running)

    @property
    def num_waiting(self) -> int:
        """Jobs in the queue."""
        return len(self._waiting)

    @property
    def room(self) -> int:
        """How many jobs ``submit`` would take now."""
        return self.max_running + self.max_queue - self.num_running - self.num_waiting

    def __contains__(self, key: Key) -> bool:
        """Whether the job runs or waits."""
        return key in self._running or key in self._waiting

    def __iter__(self) -> Iterator[Key]:
        """Every job that runs or waits."""
        return itertools.chain(self._running, self._waiting)

    def submit(self, tickets: Sequence[Ticket[Key]], now: float) -> bool:
        """Queues all of ``tickets``, whose keys are new; or none, and returns False: no room."""
        if len(tickets) > self.room:
            return False
        request = next(self._requests)
        for ticket in tickets:
            waiting = _Waiting(ticket, request, next(self._order), now)
            self._waiting[ticket.key] = waiting
            requests = self._queues.setdefault(ticket.client, {})
            requests.setdefault(request, {})[ticket.key] = waiting
            for deadline, of_queue in ((ticket.queue_deadline, True), (ticket.deadline, False)):
                if deadline is not None:
                    entry = (deadline, waiting.order, of_queue, ticket.key)
                    heapq.heappush(self._deadlines, entry)
        self._forget_old_deadlines()
        return True

    def admit(self, now: float) -> list[Admission[Key]]:
        """Gives every free slot to a waiting job, by the policy above."""
        admissions = []
        while self._free_slots and self._waiting:
            client = min(self._queues, key=self._claim_of_client)
            request = min(self._queues[client], key=self._num_running_of_request.__getitem__)
            waiting = next(iter(self._queues[client][request].values()))
            ticket = waiting.ticket
            self._leave_queue(waiting)
            slot = self._free_slots.pop()
            running = _Running(ticket, request, waiting.order, slot, now, now - waiting.since)
            self._running[ticket.key] = running
            self._num_running[client] += 1
            self._num_running_of_request[request] += 1
            admissions.append(Admission(ticket.key, request, slot, running.queue_seconds))
        return admissions

    def remove(self, key: Key, now: float) -> int | None:
        """Takes out a job that ended or is not wanted any more.

        Returns:
            The slot it held, free from now on; None if it was waiting.

        Raises:
            KeyError: it neither runs nor waits.
        """
        waiting = self._waiting.get(key)
        if waiting is not None:
            self._leave_queue(waiting)
            return None
        running = self._running.pop(key)
        _decrement(self._num_running, running.ticket.client)
        _decrement(self._num_running_of_request, running.request)
        self._free_slots.append(running.slot)
        seconds = now - running.since
        mean = seconds if self._mean_run_seconds is None else self._mean_run_seconds
        self._mean_run_seconds = mean + _NEWEST_SHARE * (seconds - mean)
        return running.slot

    def expire(self, now: float) -> list[Expiry[Key]]:
        """Takes out every job that waited past either of its deadlines or ran past its own."""
        expiries: list[Expiry[Key]] = []
        while self._deadlines and self._deadlines[0][0] <= now:
            _, order, of_queue, key = heapq.heappop(self._deadlines)
            waiting, running = self._waiting.get(key), self._running.get(key)
            if waiting is not None and waiting.order == order:
                reason = _QUEUE_TIMEOUT if of_queue else _REQUEST_TIMEOUT
                expiries.append(Expiry(key, reason, None, now - waiting.since))
            elif running is not None and running.order == order and not of_queue:
                expiries.append(Expiry(key, _REQUEST_TIMEOUT, running.slot, running.queue_seconds))
            else:
                continue
            self.remove(key, now)
        return expiries

    @property
    def next_deadline(self) -> float:
        """``expire`` finds nothing before; infinite if it never will."""
        return self._deadlines[0][0] if self._deadlines else math.inf

    def estimated_wait_seconds(self) -> float:
        """How long a job submitted now would wait: whole rounds of slots at the mean run time."""
        if self._free_slots and not self._waiting:
            return 0.0
        rounds = (self.num_waiting + 1) / self.max_running
        return rounds * (self._mean_run_seconds if self._mean_run_seconds is not None else 1.0)

    def _forget_old_deadlines(self) -> None:
        """Drops the deadlines of jobs long gone, so that they never outnumber the others far."""
        if len(self._deadlines) <= 4 * (self.num_running + self.num_waiting) + 64:
            return
        orders = {job.order for job in self._running.values()}
        orders.update(job.order for job in self._waiting.values())
        self._deadlines = [entry for entry in self._deadlines if entry[1] in orders]
        heapq.heapify(self._deadlines)

    def _claim_of_client(self, client: str) -> tuple[int, int]:
        """The least goes first: how much it has running, and since when it waits."""
        oldest = next(iter(self._queues[client].values()))
        return self._num_running[client], next(iter(oldest.values())).order

    def _leave_queue(self, waiting: _Waiting[Key]) -> None:
        ticket = waiting.ticket
        del self._waiting[ticket.key]
        requests = self._queues[ticket.client]
        del requests[waiting.request][ticket.key]
        if not requests[waiting.request]:
            del requests[waiting.request]
        if not requests:
            del self._queues[ticket.client]


def _decrement(counter: Counter[_Counted], key: _Counted) -> None:
    """So that nothing is left of what is not there any more."""
    counter[key] -= 1
    if not counter[key]:
        del counter[key]
