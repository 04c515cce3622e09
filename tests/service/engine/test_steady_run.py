"""Sequences whose books are kept later give what those give that note every token."""

import random
from dataclasses import replace

import pytest
from fake_runtime import FakeRuntime

from model.sampling import SamplingParams
from service.engine.loop import EngineLoop
from service.engine.request import Finished, Job, PromptScored, Sampled

END = 0
VOCAB_SIZE = 40


def engine(**options):
    return EngineLoop(FakeRuntime(VOCAB_SIZE), end_of_text_id=END, **options)


def plain_job(rng, job_id, **fields):
    """A job that only samples, and whose tokens nobody wants before its end."""
    settings = {
        "prompt_token_ids": tuple(rng.randrange(VOCAB_SIZE) for _ in range(rng.randrange(5))),
        "max_tokens": rng.choice([1, 2, 30, 80]),
        "sampling": SamplingParams(
            temperature=rng.choice([0.0, 1.0]), top_p=rng.choice([1.0, 0.9]), seed=rng.randrange(9)
        ),
        "ignore_eos": rng.random() < 0.4,
        "stop_token_ids": rng.choice([(), (), (5,)]),
        "return_state": rng.random() < 0.3,
        "next_top_k": rng.choice([None, None, 3]),
        "prompt_logprobs": rng.choice([None, None, 1]),
        "tokens_per_event": rng.choice([7, 64, 1000]),
    }
    return Job(job_id=job_id, **{**settings, **fields})


def told(events):
    """Tokens, how it ended, all that was said about the end but for times, and scores."""
    tokens = tuple(t for event in events if isinstance(event, Sampled) for t in event.token_ids)
    (end,) = (event for event in events if isinstance(event, Finished))
    following = None if end.next is None else end.next.token_ids.tolist()
    counts = (end.num_completion_tokens, end.num_state_tokens)
    scored = tuple(
        logprob
        for event in events
        if isinstance(event, PromptScored)
        for logprob in event.scores.logprobs.tolist()
    )
    return tokens, end.finish_reason, end.stop_token_id, counts, end.state, following, scored


def alone(job):
    """What ``job`` is told by itself, every token as it comes."""
    loop = engine()
    loop.submit("w", [replace(job, tokens_per_event=1)])
    events = []
    while loop.busy:
        loop.step()
        events += loop.take_events().get("w", [])
    return told(events)


@pytest.mark.parametrize("seed", range(12))
def test_together_in_any_order_and_alone(seed):
    rng = random.Random(seed)
    jobs = [plain_job(rng, str(number)) for number in range(40)]
    waiting, heard = list(jobs), {job.job_id: [] for job in jobs}
    loop = engine(max_running=6, max_queue=40)
    while waiting or loop.busy:
        if waiting and rng.random() < 0.1:
            loop.submit("w", [waiting.pop() for _ in range(min(len(waiting), rng.randrange(1, 6)))])
        loop.step()
        for event in loop.take_events().get("w", []):
            heard[event.job_id].append(event)
    assert {job.job_id: told(heard[job.job_id]) for job in jobs} == {
        job.job_id: alone(job) for job in jobs
    }


@pytest.mark.parametrize("streams", [0, 1])
def test_who_is_cancelled_gets_what_it_has_and_the_others_go_on(streams):
    rng = random.Random(1)
    fields = {"max_tokens": 50, "ignore_eos": True, "stop_token_ids": (), "tokens_per_event": 1000}
    jobs = [plain_job(rng, str(number), **fields) for number in range(4)]
    expected = {job.job_id: alone(job) for job in jobs}
    jobs[:streams] = [replace(job, tokens_per_event=1) for job in jobs[:streams]]
    loop, events = engine(), {job.job_id: [] for job in jobs}
    loop.submit("w", jobs)
    for step in range(200):
        if step == 20:
            loop.cancel("w", ["2"])
        loop.step()
        for event in loop.take_events().get("w", []):
            events[event.job_id].append(event)
    tokens, reason, _, (num_tokens, _), *_ = told(events.pop("2"))
    assert reason == "cancelled"
    assert tokens == expected["2"][0][:num_tokens]
    assert 15 <= num_tokens <= 20
    assert {job_id: told(each) for job_id, each in events.items()} == {
        job_id: expected[job_id] for job_id in "013"
    }


def test_events_come_when_they_are_due():
    loop = engine()
    fields = {"ignore_eos": True, "max_tokens": 100, "sampling": SamplingParams()}
    loop.submit("w", [Job(job_id=str(n), tokens_per_event=n, **fields) for n in (10, 25)])
    sizes = {"10": [], "25": []}
    while loop.busy:
        loop.step()
        for event in loop.take_events().get("w", []):
            if isinstance(event, Sampled):
                sizes[event.job_id].append(len(event.token_ids))
    assert sizes == {"10": [10] * 10, "25": [25] * 4}


def test_a_network_that_fails_ends_all_with_what_they_have():
    runtime = FakeRuntime(VOCAB_SIZE)
    loop = EngineLoop(runtime, end_of_text_id=END)
    jobs = [Job(job_id=str(n), max_tokens=90, ignore_eos=True) for n in range(3)]
    jobs = [replace(job, tokens_per_event=1000) for job in jobs]
    loop.submit("w", jobs)
    for _ in range(12):
        loop.step()
    runtime.failures = 1
    loop.step()
    assert not loop.busy
    events = loop.take_events()["w"]
    for job in jobs:
        mine = [event for event in events if event.job_id == job.job_id]
        tokens, reason, _, (num_tokens, _), *_ = told(mine)
        assert (reason, len(tokens)) == ("error", num_tokens)
        assert num_tokens >= 10
        assert tokens == alone(job)[0][:num_tokens]


class Clock:
    now = 1000.0

    def __call__(self):
        return self.now


def steps(loop, count):
    events = []
    for _ in range(count):
        loop.step()
        events += loop.take_events().get("w", [])
    return [event for event in events if isinstance(event, Finished)]


def endless(job_id, **fields):
    return Job(job_id=job_id, max_tokens=10**6, ignore_eos=True, tokens_per_event=10**6, **fields)


def test_deadlines_end_it_and_newcomers_join_it():
    clock = Clock()
    loop = engine(max_running=2, clock=clock)
    loop.submit("w", [endless("long"), endless("short", deadline=clock.now + 5)])
    assert not steps(loop, 50)
    # No place is free for this one, and its patience ends before the first's time.
    loop.submit("w", [endless("waits", queue_deadline=clock.now + 3)])
    assert not steps(loop, 50)
    clock.now += 4
    (end,) = steps(loop, 1)
    assert (end.job_id, end.error_code) == ("waits", "queue_timeout")
    assert not steps(loop, 50)
    loop.submit("w", [endless("next", deadline=clock.now + 50)])
    clock.now += 2
    (end,) = steps(loop, 1)
    assert (end.job_id, end.error_code) == ("short", "request_timeout")
    assert end.num_completion_tokens > 140
    assert loop.scheduler.num_running == 2
    assert not steps(loop, 50)
    loop.cancel("w", ["long"])
    assert [end.finish_reason for end in steps(loop, 1)] == ["cancelled"]
    clock.now += 100
    (end,) = steps(loop, 1)
    assert (end.job_id, end.error_code) == ("next", "request_timeout")
    assert not loop.busy


def test_a_prompt_is_read_while_others_run_steadily():
    loop = engine(max_running=3)
    loop.submit("w", [endless("long")])
    assert not steps(loop, 50)
    prompt = tuple(1 + n % (VOCAB_SIZE - 1) for n in range(1000))
    loop.submit("w", [Job(job_id="reads", prompt_token_ids=prompt, max_tokens=5, next_top_k=2)])
    (end,) = steps(loop, 200)
    assert (end.job_id, end.finish_reason, end.num_prompt_tokens) == ("reads", "length", 1000)
