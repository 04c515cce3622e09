"""The engine's behaviour, job by job, on a runtime that spells a script."""

import dataclasses
import logging
import math

import numpy as np
import pytest
from fake_runtime import FakeRuntime

from model.sampling import SamplingParams
from model.scoring import entropy_bits, log_softmax
from service.engine.growth import Growth, Look
from service.engine.loop import EngineLoop
from service.engine.request import Finished, Job, PromptScored, Sampled, Started

END = 0
SCRIPT = (5, 6, 6, 7)
GREEDY = SamplingParams(temperature=0)


class Clock:
    """Time that passes only when told to."""

    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def runtime():
    return FakeRuntime(script=SCRIPT)


@pytest.fixture
def loop(runtime, clock):
    return EngineLoop(runtime, end_of_text_id=END, max_running=4, max_queue=8, clock=clock)


def run(loop, *jobs, owner="w"):
    """Runs ``jobs`` to their end; their events by job id."""
    assert loop.submit(owner, jobs)
    return finish(loop, owner)


def finish(loop, owner="w", max_steps=2000):
    events = {}
    for _ in range(max_steps):
        for event in loop.take_events().get(owner, []):
            events.setdefault(event.job_id, []).append(event)
        if not loop.busy:
            return events
        loop.step()
    raise AssertionError("the engine does not come to an end")


def tokens_of(events):
    return [t for event in events if isinstance(event, Sampled) for t in event.token_ids]


def logprobs_of(events):
    parts = [e.scores.logprobs for e in events if isinstance(e, Sampled)]
    return np.concatenate(parts)


def expected_logits(runtime, token_ids):
    """Logits after the start token and ``token_ids``, one step at a time."""
    state = runtime.initial_state(1)
    for token_id in (END, *token_ids):
        if token_id == END:
            state = runtime.initial_state(1)
        logits, state = runtime.step(np.array([token_id], np.int32), state)
    return logits[0]


def expected_state(runtime, token_ids):
    token_ids = np.array([[END, *token_ids]], np.int32)
    return runtime.prefill(token_ids, runtime.initial_state(1))[0].tobytes()


def test_a_job_reads_its_prompt_spells_the_script_and_stops_at_the_end_token(loop):
    events = run(loop, Job(job_id="a", prompt_token_ids=(1, 2, 3), max_tokens=50))["a"]
    assert isinstance(events[0], Started)
    assert tokens_of(events) == [*SCRIPT, END]
    end = events[-1]
    assert isinstance(end, Finished)
    assert (end.finish_reason, end.stop_token_id) == ("stop", END)
    assert (end.num_prompt_tokens, end.num_completion_tokens) == (3, 5)
    assert end.num_state_tokens == 4
    assert end.error_code is None


def test_max_tokens_ends_a_job_with_length(loop):
    events = run(loop, Job(job_id="a", max_tokens=2))["a"]
    assert tokens_of(events) == [5, 6]
    assert (events[-1].finish_reason, events[-1].stop_token_id) == ("length", None)


def test_a_stop_on_the_last_token_counts_as_stop(loop):
    events = run(loop, Job(job_id="a", max_tokens=5))["a"]
    assert events[-1].finish_reason == "stop"


def test_nothing_to_do_is_done(loop):
    events = run(
        loop, Job(job_id="a", max_tokens=0), Job(job_id="b", prompt_token_ids=(1,), max_tokens=0)
    )
    for job_id in "ab":
        started, finished = events[job_id]
        assert isinstance(started, Started)
        assert (finished.finish_reason, finished.num_completion_tokens) == ("length", 0)


def test_ignoring_the_end_starts_a_new_document(loop):
    events = run(loop, Job(job_id="a", max_tokens=12, ignore_eos=True))["a"]
    assert tokens_of(events) == [*SCRIPT, END, *SCRIPT, END, *SCRIPT[:2]]


def test_stop_ids_end_a_job_and_are_reported(loop):
    events = run(loop, Job(job_id="a", max_tokens=50, stop_token_ids=(6,)))["a"]
    assert tokens_of(events) == [5, 6]
    assert (events[-1].finish_reason, events[-1].stop_token_id) == ("stop", 6)


def test_neither_end_nor_stop_before_min_tokens(loop):
    job = Job(job_id="a", max_tokens=50, min_tokens=7, stop_token_ids=(6,), sampling=GREEDY)
    events = run(loop, job)["a"]
    tokens = tokens_of(events)
    assert len(tokens) >= 8
    assert not {END, 6} & set(tokens[:7])
    assert events[-1].finish_reason == "stop"


def test_the_unknown_token_is_never_sampled(runtime):
    loop = EngineLoop(runtime, end_of_text_id=END, unknown_id=6)
    events = run(loop, Job(job_id="a", max_tokens=200, ignore_eos=True))["a"]
    assert len(tokens_of(events)) == 200
    assert 6 not in tokens_of(events)


def test_tokens_are_gathered_into_fewer_events_on_request(loop):
    job = Job(job_id="a", max_tokens=7, ignore_eos=True, tokens_per_event=3, logprobs=1)
    events = run(loop, job)["a"]
    sampled = [event for event in events if isinstance(event, Sampled)]
    assert [len(event.token_ids) for event in sampled] == [3, 3, 1]
    assert [len(event.scores.logprobs) for event in sampled] == [3, 3, 1]
    assert tokens_of(events) == [*SCRIPT, END, *SCRIPT[:2]]


def test_logprobs_are_the_models_own_whatever_the_sampling():
    runtime = FakeRuntime(vocab_size=50)
    loop = EngineLoop(runtime, end_of_text_id=END)
    sampling = SamplingParams(temperature=1.7, top_k=5, logit_bias={3: 5.0}, seed=9)
    job = Job(
        job_id="a",
        prompt_token_ids=(4, 2),
        max_tokens=6,
        ignore_eos=True,
        sampling=sampling,
        logprobs=3,
    )
    events = run(loop, job)["a"]
    read = [4, 2]
    for event in events:
        if isinstance(event, Sampled):
            (token_id,) = event.token_ids
            logprobs = log_softmax(expected_logits(runtime, read)[None])[0]
            top = np.argsort(-logprobs, kind="stable")[:3]
            assert event.scores.logprobs.tolist() == [logprobs[token_id]]
            assert event.scores.top_token_ids.tolist() == [top.tolist()]
            assert event.scores.top_logprobs.tolist() == [logprobs[top].tolist()]
            read.append(token_id)
    assert len(read) == 8


@pytest.mark.parametrize("start", [0, 1, 3, 5, 9])
def test_prompt_tokens_are_scored_from_where_it_is_asked(start):
    runtime = FakeRuntime(vocab_size=50)
    loop = EngineLoop(runtime, end_of_text_id=END)
    prompt = (4, 2, END, 9, 9)
    job = Job(
        job_id="a",
        prompt_token_ids=prompt,
        max_tokens=0,
        prompt_logprobs=2,
        prompt_logprobs_from=start,
    )
    events = run(loop, job)["a"]
    pieces = [event for event in events if isinstance(event, PromptScored)]
    assert [piece.start for piece in pieces] == ([start] if start < 5 else [])
    for piece in pieces:
        for place, rank in enumerate(piece.ranks, start=start):
            logprobs = log_softmax(expected_logits(runtime, prompt[:place])[None])[0]
            own = logprobs[prompt[place]]
            assert piece.scores.logprobs[place - start] == own
            assert rank == 1 + (logprobs > own).sum()
            top = np.argsort(-logprobs, kind="stable")[:2]
            assert piece.scores.top_token_ids[place - start].tolist() == top.tolist()
    assert events[-1].finish_reason == "length"


def test_a_long_prompts_scores_come_in_pieces_and_in_order():
    loop = EngineLoop(FakeRuntime(), end_of_text_id=END)
    prompt = tuple(np.random.default_rng(0).integers(1, 32, 600).tolist())
    job = Job(job_id="a", prompt_token_ids=prompt, max_tokens=0, prompt_logprobs=0)
    pieces = [e for e in run(loop, job)["a"] if isinstance(e, PromptScored)]
    assert len(pieces) > 1
    assert [piece.start for piece in pieces] == np.cumsum([0] + [len(p.ranks) for p in pieces])[
        :-1
    ].tolist()
    assert sum(len(piece.ranks) for piece in pieces) == 600


def test_a_prompt_can_be_scored_and_continued(loop):
    job = Job(job_id="a", prompt_token_ids=(1, 2), max_tokens=5, prompt_logprobs=0, logprobs=0)
    events = run(loop, job)["a"]
    kinds = [type(event) for event in events]
    assert kinds == [Started, PromptScored, *[Sampled] * 5, Finished]
    assert tokens_of(events) == [*SCRIPT, END]
    assert events[2].scores.top_token_ids.shape == (1, 0)


def test_many_prompts_of_all_lengths_are_scored_at_once_and_what_may_follow():
    """Documents that end anywhere in them included."""
    rng, runtime = np.random.default_rng(2), FakeRuntime(vocab_size=12)
    loop = EngineLoop(runtime, end_of_text_id=END)
    prompts = [tuple(rng.integers(0, 12, rng.integers(1, 40)).tolist()) for _ in range(30)]
    prompts += [(END,), (4, END), (END, 4), (4,) * 16, (4,) * 17, (END,) * 20]
    jobs = [
        Job(
            job_id=f"{n}",
            prompt_token_ids=prompt,
            max_tokens=0,
            prompt_logprobs=0,
            prompt_logprobs_from=1,
            next_top_k=3,
        )
        for n, prompt in enumerate(prompts)
    ]
    by_job = run(loop, *jobs)
    for job in jobs:
        prompt, events = job.prompt_token_ids, by_job[job.job_id]
        scored = [event for event in events if isinstance(event, PromptScored)]
        found = [value for event in scored for value in event.scores.logprobs]
        expected = [
            log_softmax(expected_logits(runtime, prompt[:place])[None])[0, prompt[place]]
            for place in range(1, len(prompt))
        ]
        assert found == expected
        logits = expected_logits(runtime, prompt)
        assert events[-1].next.token_ids.tolist() == np.argsort(-logits)[:3].tolist()


class Counted(FakeRuntime):
    """Counts how often the network is run."""

    num_runs = 0

    def _spend(self):
        self.num_runs += 1


def test_prompts_of_different_lengths_are_scored_side_by_side_and_as_if_alone():
    """Whatever else is asked of them: tokens, a state, what follows, or nothing."""
    rng = np.random.default_rng(3)
    jobs = []
    for number in range(40):
        prompt = tuple(rng.integers(0, 12, rng.integers(1, 30)).tolist())
        ends = int(rng.integers(4))
        jobs.append(
            Job(
                job_id=str(number),
                prompt_token_ids=prompt,
                max_tokens=3 if ends == 0 else 0,
                ignore_eos=True,
                sampling=GREEDY,
                prompt_logprobs=2,
                prompt_logprobs_from=int(rng.integers(len(prompt) + 1)),
                next_top_k=3 if ends == 1 else None,
                return_state=ends == 2,
            )
        )
    together = Counted(vocab_size=12)
    found = run(EngineLoop(together, end_of_text_id=END), *jobs)
    num_runs_alone = 0
    for job in jobs:
        alone = Counted(vocab_size=12)
        (expected,) = run(EngineLoop(alone, end_of_text_id=END), job).values()
        num_runs_alone += alone.num_runs
        assert tokens_of(found[job.job_id]) == tokens_of(expected)
        assert prompt_scores_of(found[job.job_id]) == prompt_scores_of(expected)
        ended, ended_alone = found[job.job_id][-1], expected[-1]
        assert ended.state == ended_alone.state
        assert (ended.next is None) == (ended_alone.next is None)
        if ended.next is not None:
            np.testing.assert_array_equal(ended.next.logprobs, ended_alone.next.logprobs)
    assert together.num_runs < num_runs_alone / 5


def prompt_scores_of(events):
    """Per scored token its logprob, rank and likeliest tokens, in order."""
    return [
        (float(logprob), int(rank), likeliest.tolist())
        for event in events
        if isinstance(event, PromptScored)
        for logprob, rank, likeliest in zip(
            event.scores.logprobs, event.ranks, event.scores.top_token_ids, strict=True
        )
    ]


@pytest.mark.parametrize("prompt", [(), (4,), (4, 2, 7)])
def test_what_may_follow_the_prompt(prompt):
    runtime = FakeRuntime(vocab_size=50)
    loop = EngineLoop(runtime, end_of_text_id=END)
    job = Job(job_id="a", prompt_token_ids=prompt, max_tokens=0, next_top_k=5)
    following = run(loop, job)["a"][-1].next
    logits = expected_logits(runtime, prompt)[None]
    logprobs = log_softmax(logits)[0]
    top = np.argsort(-logprobs, kind="stable")[:5]
    assert following.token_ids.tolist() == top.tolist()
    assert following.logprobs.tolist() == logprobs[top].tolist()
    assert following.coverage == pytest.approx(float(np.exp(logprobs[top]).sum()))
    assert following.entropy_bits == pytest.approx(float(entropy_bits(logits)[0]))


def test_a_temperature_changes_what_may_follow_but_not_its_entropy():
    runtime = FakeRuntime(vocab_size=50)
    job = Job(job_id="a", prompt_token_ids=(3,), max_tokens=0, next_top_k=50)
    warm = dataclasses.replace(job, sampling=SamplingParams(temperature=2.0))
    ends = [
        run(EngineLoop(runtime, end_of_text_id=END), each)["a"][-1].next for each in (job, warm)
    ]
    assert ends[0].entropy_bits == ends[1].entropy_bits
    assert ends[1].logprobs[0] < ends[0].logprobs[0]
    assert math.isclose(ends[1].coverage, 1.0, abs_tol=1e-6)


def test_what_may_follow_the_last_sampled_token(loop, runtime):
    events = run(loop, Job(job_id="a", max_tokens=2, next_top_k=1))["a"]
    assert tokens_of(events) == [5, 6]
    assert events[-1].next.token_ids.tolist() == [6]


@pytest.mark.parametrize("kind", ["read", "written", "scored"])
def test_the_state_covers_every_token(kind, loop, runtime):
    prompt = (1, 2, 3)
    job = {
        "read": Job(job_id="a", prompt_token_ids=prompt, max_tokens=0, return_state=True),
        "written": Job(job_id="a", prompt_token_ids=prompt, max_tokens=2, return_state=True),
        "scored": Job(
            job_id="a", prompt_token_ids=prompt, max_tokens=0, prompt_logprobs=0, return_state=True
        ),
    }[kind]
    events = run(loop, job)["a"]
    end = events[-1]
    assert end.num_state_tokens == len(tokens_of(events)) == job.max_tokens
    assert end.state == expected_state(runtime, [*prompt, *tokens_of(events)])


def test_the_state_after_a_stop_does_not_cover_the_token_that_stopped(loop, runtime):
    events = run(loop, Job(job_id="a", prompt_token_ids=(1,), max_tokens=50, return_state=True))
    end = events["a"][-1]
    assert (end.finish_reason, end.num_state_tokens) == ("stop", 4)
    assert end.state == expected_state(runtime, [1, *SCRIPT])


@pytest.mark.parametrize("cut", [0, 1, 2, 5])
def test_going_on_from_a_state_equals_going_on_from_the_text(cut):
    loop = EngineLoop(FakeRuntime(), end_of_text_id=END)
    prompt = (4, 9, 7, 7, 3)
    whole = run(loop, Job(job_id="a", prompt_token_ids=prompt, max_tokens=8, logprobs=1))["a"]
    read = Job(job_id="b", prompt_token_ids=prompt[:cut], max_tokens=0, return_state=True)
    state = run(loop, read)["b"][-1].state
    rest = Job(job_id="c", prompt_token_ids=prompt[cut:], state=state, max_tokens=8, logprobs=1)
    resumed = run(loop, rest)["c"]
    assert tokens_of(resumed) == tokens_of(whole)
    assert (logprobs_of(resumed) == logprobs_of(whole)).all()


def test_an_end_token_in_the_prompt_begins_a_new_document(loop, runtime):
    jobs = [
        Job(job_id="a", prompt_token_ids=(9, 8, END, 1, 2), max_tokens=0, return_state=True),
        Job(job_id="b", prompt_token_ids=(END, 1, 2), max_tokens=0, return_state=True),
        Job(job_id="c", prompt_token_ids=(1, 2), max_tokens=0, return_state=True),
        Job(job_id="d", prompt_token_ids=(9, END), max_tokens=0, return_state=True),
    ]
    states = {job_id: events[-1].state for job_id, events in run(loop, *jobs).items()}
    assert states["a"] == states["b"] == states["c"] == expected_state(runtime, (1, 2))
    assert states["d"] == expected_state(runtime, ())


def test_a_prompt_seen_before_is_not_read_again(loop, runtime):
    prompt = tuple(range(1, 31)) * 5
    first = run(loop, Job(job_id="a", prompt_token_ids=prompt, max_tokens=3, logprobs=2))["a"]
    before = runtime.rows_read
    again = run(loop, Job(job_id="b", prompt_token_ids=prompt, max_tokens=3, logprobs=2))["b"]
    assert runtime.rows_read - before == 2  # the sampled tokens but the last
    assert again[0].cached_tokens == again[-1].cached_tokens == 150
    longer = Job(job_id="c", prompt_token_ids=(*prompt[:140], 31), max_tokens=0, return_state=True)
    events = run(loop, longer)["c"]
    assert events[-1].cached_tokens == 128
    assert events[-1].state == expected_state(runtime, longer.prompt_token_ids)
    assert tokens_of(again) == tokens_of(first)
    assert (logprobs_of(again) == logprobs_of(first)).all()
    assert loop.counters.cache_hits_total == 2
    assert loop.counters.cached_tokens_total == 278


def test_candidates_of_one_prompt_share_its_reading(loop, runtime):
    prompt = tuple(range(1, 31)) * 5
    jobs = [
        Job(
            job_id=str(j),
            prompt_token_ids=prompt,
            max_tokens=3,
            logprobs=1,
            sampling=SamplingParams(candidate=j, logit_bias={5: -100}),
        )
        for j in range(4)
    ]
    alone = {
        job.job_id: run(EngineLoop(FakeRuntime(script=SCRIPT), end_of_text_id=END), job)
        for job in jobs
    }
    before = runtime.rows_read
    together = run(loop, *jobs)
    assert runtime.rows_read - before == 149 + 4 * 3
    assert [together[str(j)][0].cached_tokens for j in range(4)] == [0, 149, 149, 149]
    for job_id, events in together.items():
        assert tokens_of(events) == tokens_of(alone[job_id][job_id])
        assert (logprobs_of(events) == logprobs_of(alone[job_id][job_id])).all()


@pytest.mark.parametrize("way", ["cancelled", "failed"])
def test_when_the_one_that_reads_ends_early_another_takes_over(way, loop, runtime, caplog):
    prompt = tuple(range(1, 31)) * 40
    jobs = [
        Job(job_id=str(j), prompt_token_ids=prompt, max_tokens=0, return_state=True)
        for j in range(3)
    ]
    loop.submit("w", jobs)
    loop.step()
    before = runtime.rows_read
    if way == "cancelled":
        loop.cancel("w", ["0"])
    else:
        runtime.failures = 1
    with caplog.at_level(logging.CRITICAL, "service.engine.loop"):
        events = finish(loop)
    assert events["0"][-1].finish_reason == ("cancelled" if way == "cancelled" else "error")
    assert events["1"][-1].state == events["2"][-1].state == expected_state(runtime, prompt)
    assert runtime.rows_read - before <= 1200 - 512 + 1201


def test_penalties_know_the_prompt_and_what_was_generated():
    runtime = FakeRuntime(script=(5,) * 30)
    loop = EngineLoop(runtime, end_of_text_id=END)
    sampling = SamplingParams(temperature=0, repetition_penalty=10.0, frequency_penalty=2.0)
    job = Job(job_id="a", max_tokens=12, sampling=sampling, ignore_eos=True)
    tokens = tokens_of(run(loop, job)["a"])
    assert tokens[:3].count(5) < 3
    plain = run(loop, Job(job_id="b", max_tokens=12, sampling=GREEDY))["b"]
    assert tokens_of(plain) == [5] * 12


@pytest.mark.parametrize(
    "job",
    [
        Job(job_id="bad", prompt_token_ids=(1, 32)),
        Job(job_id="bad", prompt_token_ids=(-1,)),
        Job(job_id="bad", stop_token_ids=(99,)),
        Job(job_id="bad", sampling=SamplingParams(logit_bias={32: 1.0})),
        Job(job_id="bad", state=b"123"),
        Job(job_id="bad", max_tokens=-1),
        Job(job_id="bad", next_top_k=0),
        Job(job_id="bad", tokens_per_event=0),
        Job(job_id="bad", prompt_token_ids=("a", 1)),
    ],
    ids=str,
)
def test_a_job_that_does_not_fit_the_model_fails_alone(loop, job):
    events = run(loop, Job(job_id="good", max_tokens=50), job)
    (end,) = events["bad"]
    assert (end.finish_reason, end.error_code) == ("error", "invalid_job")
    assert end.error_message
    assert tokens_of(events["good"]) == [*SCRIPT, END]


def test_a_name_in_use_is_refused(loop):
    events = run(loop, Job(job_id="a"), Job(job_id="a", max_tokens=1))["a"]
    faults = [event for event in events if getattr(event, "error_code", None) == "invalid_job"]
    assert len(faults) == 1
    assert tokens_of(events) == [*SCRIPT, END]


def test_cancelling_waiting_reading_and_writing_jobs(runtime, clock):
    loop = EngineLoop(runtime, end_of_text_id=END, max_running=2, max_queue=8, clock=clock)
    jobs = [
        Job(job_id="reads", prompt_token_ids=(1,) * 2000, max_tokens=100),
        Job(job_id="writes", max_tokens=100, ignore_eos=True),
        Job(job_id="waits"),
    ]
    loop.submit("w", jobs)
    loop.step()
    loop.cancel("w", ["reads", "writes", "waits", "unknown"])
    loop.cancel("somebody else", ["reads"])
    events = finish(loop)
    for job in jobs:
        assert events[job.job_id][-1].finish_reason == "cancelled"
    assert tokens_of(events["writes"]) == [5]
    assert loop.counters.cancelled_total == 3
    assert tokens_of(run(loop, Job(job_id="next", max_tokens=50))["next"]) == [*SCRIPT, END]


def test_a_worker_that_is_gone_takes_its_jobs_with_it(loop):
    loop.submit("gone", [Job(job_id=str(n), max_tokens=50, ignore_eos=True) for n in range(6)])
    loop.submit("here", [Job(job_id="a", max_tokens=50)])
    loop.step()
    loop.drop_owner("gone")
    events = loop.take_events()
    assert "gone" not in events
    assert loop.scheduler.num_running + loop.scheduler.num_waiting == 1
    assert tokens_of(events["here"] + finish(loop, "here")["a"]) == [*SCRIPT, END]


def test_two_workers_may_use_the_same_names(loop):
    loop.submit("x", [Job(job_id="a", max_tokens=1)])
    loop.submit("y", [Job(job_id="a", max_tokens=2)])
    outbox = {}
    while loop.busy:
        loop.step()
        for owner, events in loop.take_events().items():
            outbox.setdefault(owner, []).extend(events)
    assert tokens_of(outbox["x"]) == [5]
    assert tokens_of(outbox["y"]) == [5, 6]


def test_a_full_queue_takes_nothing_of_a_request(loop):
    many = [Job(job_id=str(number)) for number in range(13)]
    assert not loop.submit("w", many)
    assert not loop.busy
    assert loop.submit("w", many[:12])
    assert not loop.submit("w", many[12:])
    assert len(finish(loop)) == 12


def test_deadlines(loop, clock):
    runs = [
        Job(job_id=f"runs {n}", max_tokens=1000, ignore_eos=True, deadline=clock.now + 10 + n)
        for n in range(4)
    ]
    waits = Job(job_id="waits", queue_deadline=clock.now + 5)
    loop.submit("w", [*runs, waits])
    for _ in range(3):
        loop.step()
    clock.now += 6
    loop.step()
    (end,) = [e for e in loop.take_events()["w"] if isinstance(e, Finished)]
    assert (end.job_id, end.error_code, end.queue_seconds) == ("waits", "queue_timeout", 6.0)
    clock.now += 4
    events = {}
    loop.step()
    for event in loop.take_events()["w"]:
        events.setdefault(event.job_id, []).append(event)
    end = events["runs 0"][-1]
    assert (end.finish_reason, end.error_code) == ("error", "request_timeout")
    assert end.num_completion_tokens == 4
    clock.now += 100
    assert all(e[-1].error_code == "request_timeout" for e in finish(loop).values())


def test_times_are_reported(loop, clock):
    loop.submit("w", [Job(job_id="a", prompt_token_ids=(1,) * 600, max_tokens=3)])
    clock.now += 2
    loop.step()
    clock.now += 3
    loop.step()
    clock.now += 4
    end = finish(loop)["a"][-1]
    assert end.queue_seconds == 2.0
    assert end.prefill_seconds == 3.0
    assert end.decode_seconds == 4.0


def test_a_failed_step_fails_its_jobs_and_the_engine_goes_on(loop, runtime, caplog):
    loop.submit("w", [Job(job_id="a", max_tokens=50), Job(job_id="b", max_tokens=50)])
    loop.step()
    runtime.failures = 1
    with caplog.at_level(logging.CRITICAL, "service.engine.loop"):
        loop.step()
    events = finish(loop)
    for job_id in "ab":
        end = events[job_id][-1]
        assert (end.finish_reason, end.error_code) == ("error", "step_failed")
        assert end.num_completion_tokens == 1
    assert loop.healthy
    assert loop.counters.failed_steps_total == 1
    assert loop.scheduler.num_running == 0
    assert tokens_of(run(loop, Job(job_id="c", max_tokens=50))["c"]) == [*SCRIPT, END]


def test_a_failure_to_read_prompts_leaves_the_writers_alone(loop, runtime, caplog):
    loop.submit("w", [Job(job_id="writes", max_tokens=50)])
    loop.step()
    loop.submit("w", [Job(job_id="reads", prompt_token_ids=(1,) * 10)])
    runtime.failures = 1
    with caplog.at_level(logging.CRITICAL, "service.engine.loop"):
        loop.step()
    events = finish(loop)
    assert events["reads"][-1].error_code == "step_failed"
    assert tokens_of(events["writes"]) == [*SCRIPT, END]


def test_failing_again_and_again_is_unhealthy_until_a_step_succeeds(loop, runtime, caplog):
    runtime.failures = 3
    with caplog.at_level(logging.CRITICAL, "service.engine.loop"):
        for number in range(3):
            assert loop.healthy
            run(loop, Job(job_id=str(number)))
    assert not loop.healthy
    run(loop, Job(job_id="good"))
    assert loop.healthy


def test_a_row_without_numbers_fails_alone(loop, runtime, monkeypatch):
    step = FakeRuntime.step

    def broken_step(token_ids, state):
        logits, state = step(runtime, token_ids, state)
        logits[token_ids == 13] = np.nan
        return logits, state

    monkeypatch.setattr(runtime, "step", broken_step)
    jobs = [
        Job(job_id=str(token_id), prompt_token_ids=(token_id,), logprobs=1)
        for token_id in (12, 13, 14)
    ]
    events = run(loop, *jobs)
    assert events["13"][-1].error_code == "step_failed"
    for job_id in ("12", "14"):
        assert tokens_of(events[job_id]) == [*SCRIPT, END]


def test_all_can_be_ended_at_once(loop):
    loop.submit("w", [Job(job_id=str(n), max_tokens=50, ignore_eos=True) for n in range(8)])
    loop.step()
    loop.fail_all("shutting_down")
    events = finish(loop)
    assert len(events) == 8
    assert all(e[-1].error_code == "shutting_down" for e in events.values())


def test_writers_are_not_held_up_by_a_long_prompt(loop, runtime):
    loop.submit("w", [Job(job_id="writes", max_tokens=400, ignore_eos=True)])
    loop.step()
    loop.take_events()
    loop.submit("w", [Job(job_id="reads", prompt_token_ids=(1,) * 1000)])
    for _ in range(10):
        before = runtime.rows_read
        loop.step()
        assert tokens_of(loop.take_events()["w"])
        assert runtime.rows_read - before <= 129


def test_counters(loop):
    run(loop, Job(job_id="a", prompt_token_ids=(1, 2, 3)), Job(job_id="b", max_tokens=2))
    counters = loop.counters
    assert counters.prompt_tokens_total == 3
    assert counters.generation_tokens_total == 7
    assert counters.finished_total == 2
    assert counters.cache_lookups_total == 2
    assert counters.batch_rows_total == 7
    assert counters.steps_total == 5
    assert counters.batch_sizes[:3] == [3, 2, 0]


def tree_job(job_id, num_nodes, client="a"):
    """A job that tries as many continuations of one token each, and looks behind all of them."""
    growth = Growth(
        parents=np.zeros(num_nodes, np.int32),
        token_ids=np.full(num_nodes, 5, np.int32),
        scored=np.ones(num_nodes, np.bool_),
        look_of=np.zeros(num_nodes, np.int32),
        kept=np.zeros(num_nodes, np.bool_),
        new_looks=(Look(top_k=1),),
        last=True,
    )
    return Job(job_id=job_id, prompt_token_ids=(1,), max_tokens=0, growth=growth, client=client)


@pytest.mark.parametrize("client", ["a", "b"])
def test_a_small_request_does_not_wait_for_anothers_many_large_trees(loop, client):
    """Of the same client or not: trees of one request end one by one and leave their slots."""
    ends = []
    loop.submit("w", [tree_job(f"large-{index}", 2000) for index in range(8)])
    loop.step()
    loop.submit("w", [tree_job("small", 300, client)])
    while loop.busy:
        loop.step()
        events = loop.take_events().get("w", [])
        ends += [event.job_id for event in events if isinstance(event, Finished)]
    assert ends[:2] == ["large-0", "small"]
    assert ends[2:] == [f"large-{index}" for index in range(1, 8)]


def test_trees_of_several_clients_share_every_step(loop, runtime):
    loop.submit("w", [tree_job("a", 1000, client="a")])
    loop.submit("w", [tree_job("b", 1000, client="b"), tree_job("c", 80, client="c")])
    ends = {}
    while loop.busy:
        before = runtime.rows_read
        loop.step()
        assert runtime.rows_read - before <= 128 + 3  # their prompts
        for event in loop.take_events().get("w", []):
            if isinstance(event, Finished):
                ends[event.job_id] = loop.counters.steps_total
    assert ends["c"] < ends["a"]
    assert ends["c"] < ends["b"]
    assert abs(ends["a"] - ends["b"]) <= 2


def test_trees_leave_writers_their_steps(loop, runtime):
    loop.submit("w", [Job(job_id="writes", max_tokens=400, ignore_eos=True)])
    loop.step()
    loop.take_events()
    loop.submit("w", [tree_job("tree", 5000)])
    for _ in range(10):
        before = runtime.rows_read
        loop.step()
        assert tokens_of(loop.take_events()["w"])
        assert runtime.rows_read - before <= 33


def test_a_tree_ends_at_its_deadline_and_when_it_is_cancelled(loop, clock):
    late = dataclasses.replace(tree_job("late", 50_000), deadline=clock.now + 1)
    loop.submit("w", [late, tree_job("unwanted", 50_000)])
    for _ in range(3):
        loop.step()
    clock.now += 2
    loop.step()
    loop.cancel("w", ["unwanted"])
    events = loop.take_events()["w"]
    ends = {event.job_id: event for event in events if isinstance(event, Finished)}
    assert ends["late"].error_code == "request_timeout"
    assert ends["unwanted"].finish_reason == "cancelled"
    assert not loop.busy
    assert loop.scheduler.num_running == 0
