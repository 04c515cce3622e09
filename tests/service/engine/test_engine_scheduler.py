"""The scheduler under random arrivals, cancels and deadlines, against plain bookkeeping."""

from collections import Counter

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from service.engine.scheduler import Scheduler, Ticket

#: A job: how long it runs, how long it waits at most, and how long it waits and runs at most.
JOBS = st.tuples(st.integers(0, 30), st.none() | st.integers(1, 20), st.none() | st.integers(1, 40))


def late(deadline, now):
    return deadline is not None and deadline <= now


def submitted(scheduler, *keys, client="", now=0.0, **deadlines):
    return scheduler.submit([Ticket(key, client, **deadlines) for key in keys], now)


def admitted(scheduler, now=0.0):
    return [admission.key for admission in scheduler.admit(now)]


def test_first_come_first_served_within_a_client():
    scheduler = Scheduler(max_running=2, max_queue=10)
    assert submitted(scheduler, *"abcd")
    assert admitted(scheduler) == ["a", "b"]
    scheduler.remove("b", 1.0)
    assert admitted(scheduler) == ["c"]
    scheduler.remove("a", 1.0)
    assert admitted(scheduler) == ["d"]


def test_a_client_with_one_job_does_not_wait_behind_anothers_hundred():
    scheduler = Scheduler(max_running=2, max_queue=200)
    submitted(scheduler, *range(100), client="greedy")
    assert admitted(scheduler) == [0, 1]
    submitted(scheduler, "mine", client="modest")
    scheduler.remove(0, 1.0)
    assert admitted(scheduler) == ["mine"]


def test_a_request_with_one_job_does_not_wait_behind_another_of_the_same_client():
    scheduler = Scheduler(max_running=2, max_queue=200)
    submitted(scheduler, *range(100))
    assert admitted(scheduler) == [0, 1]
    submitted(scheduler, "a")
    submitted(scheduler, "b", "c")
    order = []
    for key in (0, 1, "a", "b"):
        scheduler.remove(key, 1.0)
        order += admitted(scheduler)
    # The request that has nothing running comes first, and of two such the older one.
    assert order == ["a", 2, "b", "c"]


def test_clients_with_as_many_running_go_by_age():
    scheduler = Scheduler(max_running=1, max_queue=10)
    for key, client in (("a1", "a"), ("b1", "b"), ("a2", "a"), ("c1", "c")):
        submitted(scheduler, key, client=client)
    order = []
    for _ in range(4):
        order += admitted(scheduler)
        scheduler.remove(order[-1], 1.0)
    assert order == ["a1", "b1", "a2", "c1"]


def test_the_limits_of_the_queue_are_exact_and_a_request_is_taken_whole_or_not_at_all():
    scheduler = Scheduler(max_running=2, max_queue=3)
    assert scheduler.room == 5
    assert not submitted(scheduler, *range(6))
    assert scheduler.num_waiting == 0
    assert submitted(scheduler, *range(4))
    assert not submitted(scheduler, "x", "y")
    assert submitted(scheduler, "x")
    assert scheduler.room == 0
    assert len(admitted(scheduler)) == 2
    assert scheduler.room == 0
    assert not submitted(scheduler, "z")
    scheduler.remove("x", 0.0)
    assert submitted(scheduler, "z")


def test_without_a_queue_only_free_slots_count():
    scheduler = Scheduler(max_running=1, max_queue=0)
    assert submitted(scheduler, "a")
    assert not submitted(scheduler, "b")
    admitted(scheduler)
    assert not submitted(scheduler, "b")
    assert scheduler.remove("a", 0.0) == 0
    assert submitted(scheduler, "b")


def test_deadlines_while_waiting_and_while_running():
    scheduler = Scheduler(max_running=1, max_queue=10)
    submitted(scheduler, "runs", queue_deadline=1.0, deadline=9.0)
    submitted(scheduler, "waits", queue_deadline=3.0, deadline=9.0)
    submitted(scheduler, "hurries", queue_deadline=8.0, deadline=2.0, now=1.0)
    assert admitted(scheduler) == ["runs"]
    assert scheduler.expire(1.5) == []
    (expiry,) = scheduler.expire(2.0)
    assert (expiry.key, expiry.reason, expiry.slot) == ("hurries", "request_timeout", None)
    assert expiry.queue_seconds == 1.0
    (expiry,) = scheduler.expire(5.0)
    assert (expiry.key, expiry.reason, expiry.slot) == ("waits", "queue_timeout", None)
    (expiry,) = scheduler.expire(9.0)
    assert (expiry.key, expiry.reason, expiry.slot) == ("runs", "request_timeout", 0)
    assert scheduler.room == 11


def test_a_name_used_again_does_not_inherit_a_deadline():
    scheduler = Scheduler(max_running=1, max_queue=1)
    submitted(scheduler, "a", deadline=1.0)
    admitted(scheduler)
    scheduler.remove("a", 0.5)
    submitted(scheduler, "a", deadline=10.0)
    admitted(scheduler)
    assert scheduler.expire(2.0) == []
    assert "a" in scheduler


def test_removing_what_is_not_there_is_an_error():
    with pytest.raises(KeyError):
        Scheduler(1, 1).remove("a", 0.0)


def test_the_estimated_wait_grows_with_the_queue_and_knows_how_long_jobs_take():
    scheduler = Scheduler(max_running=2, max_queue=100)
    assert scheduler.estimated_wait_seconds() == 0.0
    for key in range(4):
        submitted(scheduler, key)
        scheduler.admit(0.0)
        scheduler.remove(key, 4.0)
    submitted(scheduler, "a", "b", now=4.0)
    scheduler.admit(4.0)
    assert scheduler.estimated_wait_seconds() == pytest.approx(2.0)
    submitted(scheduler, *range(10, 19))
    assert scheduler.estimated_wait_seconds() == pytest.approx(20.0)


class Bookkeeping(RuleBasedStateMachine):
    """The scheduler beside plain lists, under any order of arrivals, ends, cancels and deadlines.

    Every job has a length of its own and, if it likes, deadlines; some clients send many jobs.
    """

    def __init__(self):
        super().__init__()
        self.now = 0.0
        self.tickets = {}
        self.request_of = {}
        self.ends_after = {}
        self.waiting = []  # in the order of arrival
        self.running = {}  # key to slot
        self.started = {}
        self.ended = {}

    @initialize(max_running=st.integers(1, 5), max_queue=st.integers(0, 12))
    def make(self, max_running, max_queue):
        self.max_running, self.max_queue = max_running, max_queue
        self.scheduler = Scheduler(max_running, max_queue)

    @rule(client=st.sampled_from("abcd"), jobs=st.lists(JOBS, min_size=1, max_size=6))
    def submit(self, client, jobs):
        batch = []
        for number, (length, wait, patience) in enumerate(jobs, start=len(self.ends_after)):
            due = [None if delay is None else self.now + delay for delay in (wait, patience)]
            batch.append(Ticket(number, client, *due))
            self.ends_after[number] = length
        fits = len(self.waiting) + len(self.running) + len(batch) <= (
            self.max_running + self.max_queue
        )
        assert self.scheduler.submit(batch, self.now) == fits
        if fits:
            self.tickets.update((ticket.key, ticket) for ticket in batch)
            self.request_of.update((ticket.key, batch[0].key) for ticket in batch)
            self.waiting += [ticket.key for ticket in batch]

    @rule(data=st.data())
    def cancel(self, data):
        there = [*self.waiting, *self.running]
        if there:
            self._remove(data.draw(st.sampled_from(there)), "cancelled")

    @rule(seconds=st.integers(0, 9))
    def step(self, seconds):
        """What one step of the engine does: expire, end what has run long enough, admit."""
        self.now += seconds
        self._expire()
        for key in list(self.running):
            if self.now - self.started[key] >= self.ends_after[key]:
                self._remove(key, "ended")
        for admission in self.scheduler.admit(self.now):
            self._take(admission)

    def _take(self, admission):
        assert admission.key == self._next_by_the_policy()
        assert 0 <= admission.slot < self.max_running
        assert admission.slot not in self.running.values()
        self.waiting.remove(admission.key)
        self.running[admission.key] = admission.slot
        self.started[admission.key] = self.now

    def _next_by_the_policy(self):
        """The oldest job of the client, and in it the request, with the fewest running."""
        load = Counter(self.tickets[key].client for key in self.running)
        running_of = Counter(self.request_of[key] for key in self.running)
        first = min(self.waiting, key=lambda key: (load[self.tickets[key].client], key))
        client = self.tickets[first].client
        of_client = [key for key in self.waiting if self.tickets[key].client == client]
        return min(of_client, key=lambda key: (running_of[self.request_of[key]], key))

    def _expire(self):
        due = {
            key: "request_timeout"
            if late(self.tickets[key].deadline, self.now)
            else "queue_timeout"
            for key in [*self.waiting, *self.running]
            if late(self.tickets[key].deadline, self.now)
            or (key in self.waiting and late(self.tickets[key].queue_deadline, self.now))
        }
        expiries = self.scheduler.expire(self.now)
        assert sorted(expiry.key for expiry in expiries) == sorted(due)
        for expiry in expiries:
            both = late(self.tickets[expiry.key].queue_deadline, self.now) and expiry.slot is None
            assert both or expiry.reason == due[expiry.key]
            assert expiry.slot == self.running.pop(expiry.key, None)
            if expiry.key in self.waiting:
                self.waiting.remove(expiry.key)
            self._note_end(expiry.key, expiry.reason)

    def _remove(self, key, how):
        assert self.scheduler.remove(key, self.now) == self.running.pop(key, None)
        if key in self.waiting:
            self.waiting.remove(key)
        self._note_end(key, how)

    def _note_end(self, key, how):
        assert key not in self.ended, "a job that ends twice"
        self.ended[key] = how

    @invariant()
    def agrees(self):
        if not hasattr(self, "scheduler"):
            return
        scheduler = self.scheduler
        assert (scheduler.num_running, scheduler.num_waiting) == (
            len(self.running),
            len(self.waiting),
        )
        assert sorted(scheduler) == sorted([*self.running, *self.waiting])
        assert len(self.ended) + len(list(scheduler)) == len(self.tickets), "a job is lost"
        assert scheduler.room == (
            self.max_running + self.max_queue - len(self.running) - len(self.waiting)
        )

    def teardown(self):
        """Whatever is left ends, and every slot is there to be given again."""
        if not hasattr(self, "scheduler"):
            return
        for key in [*self.running, *self.waiting]:
            self._remove(key, "cancelled")
        assert sorted(self.ended) == sorted(self.tickets)
        batch = [Ticket(f"after {number}") for number in range(self.max_running)]
        assert self.scheduler.submit(batch, self.now)
        slots = {admission.slot for admission in self.scheduler.admit(self.now)}
        assert slots == set(range(self.max_running))


TestNoSlotIsLostOrGivenTwice = Bookkeeping.TestCase
TestNoSlotIsLostOrGivenTwice.settings = settings(max_examples=60, stateful_step_count=40)


def test_nobody_starves_while_new_clients_keep_coming():
    scheduler = Scheduler(max_running=1, max_queue=1000)
    submitted(scheduler, "old 1", "old 2", "old 3", client="old")
    served = []
    for number in range(20):
        for newcomer in range(3):
            submitted(scheduler, f"new {number} {newcomer}", client=f"{number} {newcomer}")
        served += admitted(scheduler)
        scheduler.remove(served[-1], 1.0)
    # Each of the three waits only for what was there before it.
    assert served[:3] == ["old 1", "old 2", "old 3"]


def test_deadlines_of_jobs_long_gone_take_no_memory():
    scheduler = Scheduler(max_running=1, max_queue=0)
    for number in range(5000):
        submitted(scheduler, number, deadline=1e9)
        scheduler.admit(0.0)
        scheduler.remove(number, 0.0)
    assert len(scheduler._deadlines) < 100
