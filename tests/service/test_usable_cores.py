"""How many cores there are, as control groups of both versions ration them."""

import os

import pytest

from service.usable_cores import usable_cores

CORES = 5


@pytest.fixture(autouse=True)
def five_cores(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: set(range(CORES)))


def write(folder, files):
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


@pytest.mark.parametrize(
    ("groups_of_process", "files", "cores"),
    [
        ("0::/\n", {}, CORES),
        ("0::/\n", {"cpu.max": "max 100000\n"}, CORES),
        ("0::/\n", {"cpu.max": "250000 100000\n"}, 2),
        ("0::/\n", {"cpu.max": "50000 100000\n"}, 1),
        ("0::/\n", {"cpu.max": "900000 100000\n"}, CORES),
        # The tightest of a group and those it is in.
        ("0::/a/b\n", {"a/b/cpu.max": "400000 100000", "a/cpu.max": "300000 100000"}, 3),
        ("0::/a/b\n", {"a/b/cpu.max": "max 100000", "cpu.max": "200000 100000"}, 2),
        # Version 1: in a container the process sees its group's path on the host.
        (
            "4:memory:/m\n3:cpu,cpuacct:/docker/x\n0::/\n",
            {"cpu/cpu.cfs_quota_us": "200000\n", "cpu/cpu.cfs_period_us": "100000\n"},
            2,
        ),
        (
            "1:cpu:/docker/x\n",
            {
                "cpu/docker/x/cpu.cfs_quota_us": "-1\n",
                "cpu/docker/x/cpu.cfs_period_us": "100000\n",
            },
            CORES,
        ),
        ("0::/\n", {"cpu.max": "nonsense"}, CORES),
    ],
)
def test_whichever_is_least(tmp_path, groups_of_process, files, cores):
    write(tmp_path / "groups", files)
    write(tmp_path, {"of_process": groups_of_process})
    assert usable_cores(tmp_path / "of_process", tmp_path / "groups") == cores


def test_without_control_groups(tmp_path):
    assert usable_cores(tmp_path / "nothing", tmp_path / "nowhere") == CORES
