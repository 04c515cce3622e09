"""Promises of the engine: a job's tokens and logprobs depend on the job alone, and every job ends.

Run on a fake network whose state is a function of all tokens read, so that any mix-up of rows,
states or order shows, and on a real one (small, random weights, NumPy).
"""

import random
from dataclasses import replace

import numpy as np
import pytest
from fake_runtime import FakeRuntime

from model.config import ModelConfig
from model.kernel.library import find_kernel
from model.runtime.numpy_runtime import NumpyRuntime
from model.sampling import SamplingParams
from service.engine.loop import EngineLoop
from service.engine.request import Finished, Job, PromptScored, Sampled, Started

VOCAB_SIZE = 40
END, UNKNOWN = 0, 1


def small_network():
    config = ModelConfig(vocab_size=VOCAB_SIZE, cell="lstm", embedding_size=6, hidden_size=8)
    rng = np.random.default_rng(0)
    weights = {
        name: rng.normal(0, 0.6, shape).astype(np.float32)
        for name, shape in config.weight_shapes().items()
    }
    return NumpyRuntime(config, weights)


def fake_network():
    return FakeRuntime(VOCAB_SIZE)


def engine(runtime, **options):
    return EngineLoop(
        runtime, end_of_text_id=END, unknown_id=UNKNOWN, kernel=find_kernel(), **options
    )


def random_job(rng, job_id, stems):
    """Anything a client may ask for; prompts share beginnings, so that the cache is hit."""
    stem = rng.choice(stems)
    tail = [rng.randrange(VOCAB_SIZE) for _ in range(rng.choice([0, 1, 3, 20]))]
    prompt = (*stem[: rng.choice([0, 5, 64, len(stem)])], *tail)
    return Job(
        job_id=job_id,
        prompt_token_ids=prompt,
        max_tokens=rng.choice([0, 1, 2, 7, 25]),
        sampling=SamplingParams(
            temperature=rng.choice([0.0, 0.7, 1.0, 1.3]),
            top_k=rng.choice([0, 0, 3, 30]),
            top_p=rng.choice([1.0, 0.9, 0.3]),
            min_p=rng.choice([0.0, 0.05]),
            typical_p=rng.choice([1.0, 1.0, 0.8]),
            repetition_penalty=rng.choice([1.0, 1.2]),
            frequency_penalty=rng.choice([0.0, 0.5]),
            logit_bias=rng.choice([{}, {3: 2.0, 4: -100}]),
            seed=rng.randrange(5),
            candidate=rng.randrange(3),
        ),
        min_tokens=rng.choice([0, 0, 3]),
        ignore_eos=rng.random() < 0.3,
        stop_token_ids=rng.choice([(), (5, 6)]),
        logprobs=rng.choice([None, 0, 3]),
        prompt_logprobs=rng.choice([None, None, 2]),
        prompt_logprobs_from=rng.choice([0, 1, 10]),
        next_top_k=rng.choice([None, 4]),
        return_state=rng.random() < 0.3,
        tokens_per_event=rng.choice([1, 1, 4]),
        client=rng.choice("abc"),
    )


class Transcript:
    """All that one job was told, but for times and for how it was cut into events."""

    def __init__(self):
        self.started = 0
        self.ended = 0
        self.tokens = []
        self.scores = []
        self.prompt_scores = []
        self.end = None

    def add(self, event):
        assert not self.ended, "an event after the end"
        match event:
            case Started():
                assert not self.started and not self.tokens
                self.started += 1
            case Sampled():
                assert self.started
                self.tokens += event.token_ids
                if event.scores is not None:
                    self.scores += _rows(event.scores)
            case PromptScored():
                assert self.started and not self.tokens
                ranks = event.ranks.tolist()
                self.prompt_scores += zip(_rows(event.scores), ranks, strict=True)
            case Finished():
                self.ended += 1
                following = event.next
                self.end = (
                    event.finish_reason,
                    event.stop_token_id,
                    event.num_completion_tokens,
                    event.state,
                    event.num_state_tokens,
                    following
                    and (
                        following.token_ids.tolist(),
                        following.logprobs.tolist(),
                        following.coverage,
                        following.entropy_bits,
                    ),
                )


def _rows(scores):
    return list(
        zip(
            scores.logprobs.tolist(),
            scores.top_token_ids.tolist(),
            scores.top_logprobs.tolist(),
            strict=True,
        )
    )


def collect(loop, transcripts):
    for events in loop.take_events().values():
        for event in events:
            transcripts.setdefault(event.job_id, Transcript()).add(event)


def run_alone(runtime, job):
    loop = engine(runtime, cache_bytes=0)
    loop.submit("w", [job])
    transcripts = {}
    while loop.busy:
        loop.step()
        collect(loop, transcripts)
    return transcripts[job.job_id]


@pytest.mark.parametrize(
    ("make_runtime", "seed"), [(fake_network, 0), (fake_network, 1), (small_network, 2)]
)
def test_a_job_gives_the_same_alone_and_under_any_load(make_runtime, seed):
    rng = random.Random(seed)
    stems = [[rng.randrange(VOCAB_SIZE) for _ in range(150)] for _ in range(2)]
    jobs = [random_job(rng, f"job {number}", stems) for number in range(30)]
    for number in range(5):  # further candidates of some prompts, whose reading is shared
        job = rng.choice(jobs)
        other = replace(job.sampling, candidate=7)
        jobs.append(replace(job, job_id=f"candidate {number}", sampling=other))
    runtime = make_runtime()
    alone = {job.job_id: run_alone(runtime, job) for job in jobs}

    loop = engine(runtime, max_running=rng.choice([1, 5, 16]), max_queue=100)
    arriving, transcripts = list(jobs), {}
    rng.shuffle(arriving)
    while arriving or loop.busy:
        if arriving and rng.random() < 0.5:
            count = rng.randint(1, 6)
            assert loop.submit(rng.choice("xyz"), arriving[:count])
            arriving = arriving[count:]
        loop.step()
        collect(loop, transcripts)
    assert transcripts.keys() == alone.keys()
    for job in jobs:
        assert vars(transcripts[job.job_id]) == vars(alone[job.job_id]), job
    assert loop.counters.cache_hits_total > 3


@pytest.mark.parametrize("seed", range(3))
def test_every_job_ends_exactly_once_whatever_happens(seed, caplog):
    """Random arrivals, cancels, deadlines, vanishing workers and failing steps."""
    caplog.set_level("CRITICAL", "service.engine.loop")
    rng = random.Random(seed)
    stems = [[rng.randrange(VOCAB_SIZE) for _ in range(100)]]
    runtime = FakeRuntime(VOCAB_SIZE)
    now = [0.0]
    loop = engine(runtime, max_running=4, max_queue=9, clock=lambda: now[0])
    transcripts, owners, dropped = {}, {}, set()
    for number in range(250):
        now[0] += rng.random()
        action = rng.random()
        open_jobs = [
            job_id for job_id in owners if not (t := transcripts.get(job_id)) or not t.ended
        ]
        open_jobs = [job_id for job_id in open_jobs if job_id not in dropped]
        if action < 0.5:
            job = random_job(rng, f"job {number}", stems)
            deadline = now[0] + rng.expovariate(0.1)
            job = replace(job, deadline=deadline, queue_deadline=now[0] + rng.expovariate(0.1))
            fits = len(open_jobs) < 4 + 9
            owner = rng.choice("xyz")
            assert loop.submit(owner, [job]) == fits
            if fits:
                owners[job.job_id] = owner
        elif action < 0.6 and open_jobs:
            job_id = rng.choice(open_jobs)
            loop.cancel(owners[job_id], [job_id])
        elif action < 0.62:
            owner = rng.choice("xyz")
            loop.drop_owner(owner)
            dropped |= {job_id for job_id in open_jobs if owners[job_id] == owner}
        elif action < 0.65:
            runtime.failures = 1
        else:
            loop.step()
        collect(loop, transcripts)
    runtime.failures = 0
    while loop.busy:
        loop.step()
        collect(loop, transcripts)
    for job_id in owners.keys() - dropped:
        assert transcripts[job_id].ended == 1, job_id
    assert loop.scheduler.room == 4 + 9
    reasons = {t.end[0] for t in transcripts.values() if t.end}
    assert reasons == {"stop", "length", "cancelled", "error"}


@pytest.mark.parametrize("max_tokens", [3, 60])
def test_what_a_job_gives_does_not_depend_on_max_tokens(max_tokens):
    runtime = FakeRuntime(VOCAB_SIZE)
    whole = run_alone(runtime, Job(job_id="a", max_tokens=80, ignore_eos=True, logprobs=2))
    part = run_alone(runtime, Job(job_id="a", max_tokens=max_tokens, ignore_eos=True, logprobs=2))
    assert part.tokens == whole.tokens[:max_tokens]
    assert part.scores == whole.scores[:max_tokens]
