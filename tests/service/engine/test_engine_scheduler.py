"""The scheduler under random arrivals, cancels and deadlines, against plain bookkeeping."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.scheduler import Scheduler, Ticket


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


@given(
    seed=st.integers(0, 10**6),
    max_running=st.integers(1, 5),
    max_queue=st.integers(0, 12),
    num_clients=st.integers(1, 4),
)
@settings(max_examples=50)
def test_no_slot_is_lost_or_given_twice_and_every_job_ends_once(
    seed, max_running, max_queue, num_clients
):
    rng = random.Random(seed)
    scheduler = Scheduler(max_running, max_queue)
    tickets, waiting, running, ended = {}, [], {}, {}
    now, names = 0.0, iter(range(10**6))

    def end(key, how):
        assert key not in ended
        ended[key] = how

    for _ in range(120):
        now += rng.random()
        action = rng.random()
        if action < 0.5:
            batch = [
                Ticket(
                    next(names),
                    f"client {rng.randrange(num_clients)}",
                    now + rng.expovariate(0.2) if rng.random() < 0.5 else None,
                    now + rng.expovariate(0.1) if rng.random() < 0.5 else None,
                )
                for _ in range(rng.randint(1, 4))
            ]
            fits = len(waiting) + len(running) + len(batch) <= max_running + max_queue
            assert scheduler.submit(batch, now) == fits
            if fits:
                tickets.update((ticket.key, ticket) for ticket in batch)
                waiting += [ticket.key for ticket in batch]
        elif action < 0.8 and (waiting or running):
            key = rng.choice([*waiting, *running])
            assert scheduler.remove(key, now) == running.pop(key, None)
            if key in waiting:
                waiting.remove(key)
            end(key, "removed")
        else:
            due = {
                key
                for key in [*waiting, *running]
                if (tickets[key].deadline or 1e9) <= now
                or (key in waiting and (tickets[key].queue_deadline or 1e9) <= now)
            }
            expiries = scheduler.expire(now)
            assert {expiry.key for expiry in expiries} == due
            for expiry in expiries:
                assert expiry.slot == running.pop(expiry.key, None)
                if expiry.key in waiting:
                    waiting.remove(expiry.key)
                end(expiry.key, expiry.reason)
        for admission in scheduler.admit(now):
            assert admission.key in waiting
            assert admission.slot not in running.values()
            assert 0 <= admission.slot < max_running
            mine = tickets[admission.key].client
            load = {
                tickets[key].client: sum(
                    tickets[other].client == tickets[key].client for other in running
                )
                for key in waiting
            }
            assert load[mine] == min(load.values())
            assert admission.key == next(key for key in waiting if tickets[key].client == mine)
            waiting.remove(admission.key)
            running[admission.key] = admission.slot
        assert not waiting or len(running) == max_running
        assert (scheduler.num_running, scheduler.num_waiting) == (len(running), len(waiting))
        assert sorted(scheduler) == sorted([*running, *waiting])
    for key in [*running, *waiting]:
        scheduler.remove(key, now)
        end(key, "removed")
    assert scheduler.room == max_running + max_queue
    assert sorted(ended) == sorted(tickets)


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
