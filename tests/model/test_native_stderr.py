"""Silencing native code on standard error, and only there, and only meanwhile."""

import os
from pathlib import Path

import pytest

from model.runtime.native_stderr import native_stderr_silenced


def test_drops_what_is_written_meanwhile(capfd: pytest.CaptureFixture[str]) -> None:
    os.write(2, b"before ")
    with native_stderr_silenced():
        os.write(2, b"chatter")
        os.write(1, b"answer")
    os.write(2, b"after")
    captured = capfd.readouterr()
    assert captured.err == "before after"
    assert captured.out == "answer"


def test_standard_error_returns_after_an_exception(capfd: pytest.CaptureFixture[str]) -> None:
    open_files = Path("/proc/self/fd")
    num_open = len(list(open_files.iterdir()))
    with pytest.raises(KeyError), native_stderr_silenced():
        raise KeyError
    os.write(2, b"after")
    assert capfd.readouterr().err == "after"
    assert len(list(open_files.iterdir())) == num_open
