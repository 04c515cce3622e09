"""Forked processes: their end, their names, their signals."""

import os
import signal
import sys
import time
from pathlib import Path

import pytest
from running_service import wait_until

from service.child_process import ChildProcess


def ended(child):
    return wait_until(lambda: child.poll() is not None, "the child ends") and child.exit_code


@pytest.mark.parametrize(
    ("target", "code"),
    [
        (lambda: None, 0),
        (lambda: 3, 3),
        (lambda: sys.exit(4), 4),
        (lambda: os._exit(5), 5),
    ],
)
def test_exit_codes(target, code):
    child = ChildProcess("child", target)
    assert ended(child) == code
    child.send(signal.SIGTERM)


def test_an_exception_is_exit_code_1(capfd):
    def fail():
        raise RuntimeError("as it happens")

    assert ended(ChildProcess("child", fail)) == 1
    assert "as it happens" in capfd.readouterr().err


def test_signals_reach_it():
    child = ChildProcess("sleeper", lambda: time.sleep(60))
    wait_until(lambda: Path(f"/proc/{child.pid}/comm").read_text() == "sleeper\n", "it has a name")
    child.send(signal.SIGTERM)
    assert ended(child) == -signal.SIGTERM


def test_it_hears_signals_that_its_parent_blocks():
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    try:
        child = ChildProcess("sleeper", lambda: time.sleep(60), [signal.SIGTERM])
        child.send(signal.SIGTERM)
        assert ended(child) == -signal.SIGTERM
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
