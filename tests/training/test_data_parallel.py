"""Two processes train what one would: the same losses, stopped and resumed together."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from conftest import tiny_settings

from model.errors import ConfigurationError
from training.checkpoint import newest_checkpoint
from training.cluster import Cluster, cluster_of
from training.data_parallel import Workers
from training.log import read_log
from training.run_directory import RunDirectory

PROJECT = Path(__file__).parents[2]
SETTINGS = {
    "steps": 120,
    "hidden_size": 32,
    "batch_size": 8,
    "window": 16,
    "dropout": 0.0,
    "learning_rate": 2e-3,
    "compute_dtype": "float32",
}


def free_ports(number):
    with_ports = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    try:
        return [listener.getsockname()[1] for listener in with_ports]
    finally:
        for listener in with_ports:
            listener.close()


def start_worker(index, ports, runs, *arguments, stage="train"):
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    config = {"cluster": cluster, "task": {"type": "worker", "index": index}}
    flags = [p for key, v in SETTINGS.items() for p in ("--" + key.replace("_", "-"), str(v))]
    command = [sys.executable, "-m", "training", stage, "--name", "tales", "--runs", str(runs)]
    return subprocess.Popen(
        [*command, *flags, *arguments],
        cwd=PROJECT,
        env={**os.environ, "TF_CONFIG": json.dumps(config)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def finish(processes):
    """Exit code and standard error of each."""
    ends = []
    for process in processes:
        try:
            _, said = process.communicate(timeout=150)
        finally:
            process.kill()
        ends.append((process.returncode, said))
    return ends


def losses(run):
    return {record["step"]: record["loss"] for record in read_log(run.log) if "loss" in record}


@pytest.fixture(scope="module")
def alone(tmp_path_factory, corpus):
    """The run of one process, prepared and trained."""
    from training.pipeline import Pipeline

    runs = tmp_path_factory.mktemp("alone")
    run = RunDirectory.of(runs, "tales")
    pipeline = Pipeline(run, tiny_settings(corpus=corpus, runs=runs, **SETTINGS), lambda line: None)
    pipeline.prepare()
    pipeline.train()
    return run


def test_two_processes_make_the_losses_of_one_also_when_stopped_and_started_again(alone, tmp_path):
    runs = [RunDirectory.of(tmp_path / f"machine-{index}", "tales") for index in range(2)]
    for run in runs:
        shutil.copytree(alone.prepared, run.prepared)
    folders = [run.root.parent for run in runs]
    ports = free_ports(2)
    workers = [start_worker(index, ports, folders[index]) for index in range(2)]
    while not read_log(runs[0].log) and workers[0].poll() is None:
        time.sleep(0.02)
    workers[1].send_signal(signal.SIGTERM)
    for code, said in finish(workers):
        assert code == 2, said
        assert "error: training was stopped at" in said
        assert "Traceback" not in said
    stopped_at = newest_checkpoint(runs[0].checkpoints).meta["step"]
    assert 0 < stopped_at < SETTINGS["steps"]

    ports = free_ports(2)
    ends = finish([start_worker(index, ports, folders[index]) for index in range(2)])
    assert [code for code, _ in ends] == [0, 0], ends
    expected, found = losses(alone), losses(runs[0])
    assert list(found) == list(range(1, SETTINGS["steps"] + 1))
    assert max(abs(found[step] - expected[step]) for step in found) < 1e-4
    one, two = (newest_checkpoint(run.checkpoints).meta for run in (alone, runs[0]))
    assert two["best_loss"] == pytest.approx(one["best_loss"], abs=1e-4)
    assert sorted(path.name for path in runs[1].root.iterdir()) == ["prepared"]


def test_a_worker_that_is_killed_is_told_by_the_others(alone, tmp_path):
    runs = [RunDirectory.of(tmp_path / f"machine-{index}", "tales") for index in range(2)]
    for run in runs:
        shutil.copytree(alone.prepared, run.prepared)
    ports = free_ports(2)
    workers = [
        start_worker(index, ports, run.root.parent, "--steps", "100000")
        for index, run in enumerate(runs)
    ]
    while not read_log(runs[0].log) and workers[0].poll() is None:
        time.sleep(0.02)
    workers[1].kill()
    (code, said), _ = finish(workers)
    assert code != 0
    assert newest_checkpoint(runs[0].checkpoints) is not None
    assert "the connection to another worker is lost. Start all workers again" in said


def test_all_stages_at_once_are_for_one_process(tmp_path):
    [(code, said)] = finish([start_worker(0, [1, 2], tmp_path, stage="run")])
    assert code == 2
    assert "share the stage train alone; start prepare once" in said


@pytest.mark.parametrize(
    ("task", "expected"),
    [(("chief", 0), Cluster(3, 0)), (("worker", 0), Cluster(3, 1)), (("worker", 1), Cluster(3, 2))],
)
def test_the_chief_comes_first(task, expected):
    config = {
        "cluster": {"chief": ["a:1"], "worker": ["b:1", "c:1"]},
        "task": {"type": task[0], "index": task[1]},
    }
    assert cluster_of({"TF_CONFIG": json.dumps(config)}) == expected
    assert cluster_of({}) == Cluster()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ("{", "TF_CONFIG must be such as"),
        ('{"cluster": {"worker": ["a:1"]}}', "TF_CONFIG must be such as"),
        (
            '{"cluster": {"worker": ["a:1"]}, "task": {"type": "worker", "index": 1}}',
            "places this process as worker 1 among",
        ),
        (
            '{"cluster": {"worker": ["a:1"], "ps": ["b:1"]}, "task": {"type": "ps", "index": 0}}',
            "all must be workers",
        ),
    ],
)
def test_a_mistaken_cluster_is_told(config, message):
    with pytest.raises(ConfigurationError, match=message):
        cluster_of({"TF_CONFIG": config})


def test_the_streams_are_shared_out_evenly_or_not_at_all():
    shares = [Workers(Cluster(4, index)).rows(8) for index in range(4)]
    assert [row for share in shares for row in range(8)[share]] == list(range(8))
    with pytest.raises(ConfigurationError, match="cannot be shared by 3 workers; give a --batch"):
        Workers(Cluster(3, 0)).rows(8)
