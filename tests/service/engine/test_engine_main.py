"""The engine as a process of its own, on a real (tiny) bundle."""

import contextlib
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tiny_bundle import tiny_bundle

from model.sampling import SamplingParams
from service.engine.request import Job, PromptScored, Sampled
from service.engine_client import EngineClient

ROOT = Path(__file__).resolve().parents[3]


def start(bundle, *flags):
    return subprocess.Popen(
        [sys.executable, "-m", "service.engine", "--bundle", str(bundle), *flags],
        cwd=ROOT,
        stderr=subprocess.PIPE,
        text=True,
    )


@contextlib.contextmanager
def ended(process):
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_it_serves_its_bundle_until_told_to_stop(tmp_path):
    address = f"ipc://{tmp_path}/engine"
    flags = ("--socket", address, "--max-running", "3", "--max-queue", "5")
    with ended(start(tiny_bundle(), *flags)) as process:
        client = EngineClient([address])
        try:
            assert client.wait_ready(60)
            (status,) = client.status()
            assert (status.max_running, status.max_queue) == (3, 5)
            job = Job(job_id="a", prompt_token_ids=(5, 6), max_tokens=9, ignore_eos=True)
            events = client.submit([job])
            tokens = [t for e in events if isinstance(e, Sampled) for t in e.token_ids]
            assert len(tokens) == 9
        finally:
            client.close()
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0


def test_threads_for_an_engine_that_is_alone_change_no_bit(tmp_path):
    """One job by itself, which may use them, and one among many, which may not."""
    answers = []
    for threads in ("1", "3"):
        address = f"ipc://{tmp_path}/engine-{threads}"
        flags = ("--socket", address, "--engine-threads-alone", threads)
        with ended(start(tiny_bundle(), *flags)) as process:
            client = EngineClient([address])
            try:
                assert client.wait_ready(60), process
                alone = [scored_job("alone")]
                many = [scored_job(f"{number}") for number in range(9)]
                answers += [scores_of(client.submit(jobs)) for jobs in (alone, many)]
            finally:
                client.close()
    assert len({scores for answer in answers for scores in answer}) == 1


def scored_job(job_id):
    return Job(
        job_id=job_id,
        prompt_token_ids=tuple(range(5, 17)),
        max_tokens=12,
        ignore_eos=True,
        sampling=SamplingParams(seed=3),
        prompt_logprobs=0,
        prompt_logprobs_from=1,
        logprobs=0,
    )


def scores_of(events):
    """Of each job its tokens and the logprobs of prompt and tokens, to be compared."""
    tokens, logprobs = {}, {}
    for event in events:
        if isinstance(event, Sampled):
            tokens.setdefault(event.job_id, []).extend(event.token_ids)
        if isinstance(event, Sampled | PromptScored):
            logprobs.setdefault(event.job_id, []).extend(event.scores.logprobs.tolist())
    assert all(len(values) == 11 + 12 for values in logprobs.values())
    return [(tuple(tokens[job]), tuple(logprobs[job])) for job in tokens]


@pytest.mark.parametrize(
    ("damage", "flags", "message"),
    [
        ("network.tflite", (), "network.tflite"),
        ("", ("--max-running", "0"), "--max-running"),
    ],
)
def test_what_cannot_be_run_is_refused_with_a_reason(tmp_path, damage, flags, message):
    bundle = tmp_path / "bundle"
    shutil.copytree(tiny_bundle(), bundle)
    if damage:
        (file,) = bundle.glob(f"*/{damage}")
        file.write_bytes(file.read_bytes()[:-100])
    with ended(start(bundle, "--socket", f"ipc://{tmp_path}/engine", *flags)) as process:
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 2
    assert errors.startswith("error: ")
    assert message in errors
    assert "Traceback" not in errors
