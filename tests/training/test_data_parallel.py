"""Two processes train what one would: the same losses, stopped and resumed together."""

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from conftest import tiny_settings

from model.errors import ConfigurationError
from training.__main__ import main
from training.checkpoint import newest_checkpoint
from training.cluster import Cluster, cluster_of
from training.data_parallel import Workers
from training.log_records import read_log
from training.run_directory import RunDirectory

PROJECT = Path(__file__).parents[2]
COMMAND = [sys.executable, "-m", "training", "train"]
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


def config_of(index, ports):
    cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
    return json.dumps({"cluster": cluster, "task": {"type": "worker", "index": index}})


@contextmanager
def workers(runs, *arguments):
    """A process for each of ``runs``, as started by hand; none is left in the end."""
    flags = [p for key, v in SETTINGS.items() for p in ("--" + key.replace("_", "-"), str(v))]
    ports = free_ports(len(runs))
    processes = []
    for index, run in enumerate(runs):
        command = [*COMMAND, "--name", run.name, "--runs", str(run.root.parent), *flags, *arguments]
        environment = {**os.environ, "TF_CONFIG": config_of(index, ports)}
        with said_file(run).open("w") as said:
            processes.append(
                subprocess.Popen(
                    command, cwd=PROJECT, env=environment, stdout=subprocess.DEVNULL, stderr=said
                )
            )
    try:
        yield processes
    finally:
        for process in processes:
            process.kill()
            process.wait()


def said_file(run):
    return run.root.parent / "said.txt"


def wait_for_steps(run, process):
    while not read_log(run.log):
        assert process.poll() is None, said_file(run).read_text()
        time.sleep(0.02)


def ends(processes, runs):
    """Exit code and standard error of each."""
    codes = [process.wait() for process in processes]
    return list(zip(codes, [said_file(run).read_text() for run in runs], strict=True))


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


@pytest.fixture
def machines(alone, tmp_path):
    """Two runs that share nothing but what was prepared."""
    runs = [RunDirectory.of(tmp_path / f"machine-{index}", "tales") for index in range(2)]
    for run in runs:
        shutil.copytree(alone.prepared, run.prepared)
    return runs


@pytest.mark.timeout(600)
def test_two_processes_make_the_losses_of_one_also_when_stopped_and_started_again(alone, machines):
    with workers(machines) as processes:
        wait_for_steps(machines[0], processes[0])
        processes[1].send_signal(signal.SIGTERM)
        for code, said in ends(processes, machines):
            assert code == 2, said
            assert "error: training was stopped at" in said
            assert "Traceback" not in said
    assert 0 < newest_checkpoint(machines[0].checkpoints).meta["step"] < SETTINGS["steps"]
    with workers(machines) as processes:
        assert [code for code, _ in ends(processes, machines)] == [0, 0]
    expected, found = losses(alone), losses(machines[0])
    assert list(found) == list(range(1, SETTINGS["steps"] + 1))
    assert max(abs(found[step] - expected[step]) for step in found) < 1e-4
    one, two = (newest_checkpoint(run.checkpoints).meta for run in (alone, machines[0]))
    assert two["best_loss"] == pytest.approx(one["best_loss"], abs=1e-4)
    assert [path.name for path in machines[1].root.iterdir()] == ["prepared"]


@pytest.mark.timeout(600)
def test_when_a_worker_is_killed_the_others_say_so_and_end(machines):
    with workers(machines, "--steps", "1000000") as processes:
        wait_for_steps(machines[0], processes[0])
        processes[1].kill()
        code, said = ends(processes, machines)[0]
    assert code == 2, said
    assert said.splitlines()[-1].startswith("error: the connection to another worker is lost")
    assert newest_checkpoint(machines[0].checkpoints) is not None


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("index", [0, 1])
def test_who_waits_for_others_that_do_not_come_can_be_stopped(machines, index, number):
    command = [*COMMAND, "--name", "tales", "--runs", str(machines[0].root.parent), "--steps", "9"]
    environment = {**os.environ, "TF_CONFIG": config_of(index, free_ports(2))}
    process = subprocess.Popen(
        command,
        cwd=PROJECT,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        said_first = process.stdout.readline()
        assert said_first == f"worker {index} of 2: waiting for the others\n"
        time.sleep(0.5)
        assert process.poll() is None
        process.send_signal(number)
        _, said = process.communicate(timeout=30)
    finally:
        process.kill()
        process.communicate()
    assert process.returncode == 2
    assert said.splitlines()[-1] == (
        "error: training was stopped while it waited for the other workers"
    )
    assert "Traceback" not in said


def test_all_stages_at_once_are_for_one_process(tmp_path):
    done = CliRunner().invoke(
        main,
        ["run", "--name", "tales", "--runs", str(tmp_path)],
        env={"TF_CONFIG": config_of(0, [1, 2])},
    )
    assert done.exit_code == 2
    assert "share the stage train alone; start prepare once" in done.output


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
            '{"cluster": {"worker": ["a:1", "b"]}, "task": {"type": "worker", "index": 1}}',
            "TF_CONFIG must be such as",
        ),
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
