"""``python -m service`` as a child process on a free port of the loopback, and what it takes."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

_READY = re.compile(rb"^Ready in .* on http://[^ ]*:(\d+)", re.MULTILINE)
_START_SECONDS = 60
_STOP_SECONDS = 20
_POLL_SECONDS = 0.005


@dataclass(frozen=True)
class RunningService:
    """A service that answers.

    Attributes:
        pid: of the supervisor.
        port: on 127.0.0.1.
        start_seconds: from starting the interpreter to the first answer of ``/ready``.
    """

    pid: int
    port: int
    start_seconds: float


@dataclass(frozen=True)
class ProcessMemory:
    """One process and its memory in use.

    Attributes:
        name: what it is: "supervisor", "engine", "HTTP server" or "HTTP worker".
        resident_mb: pages in memory, those shared with others included (VmRSS).
        proportional_mb: the same, every shared page divided by how many share it (Pss).
    """

    name: str
    resident_mb: float
    proportional_mb: float


@contextlib.contextmanager
def running_service(bundle: Path, *flags: str) -> Iterator[RunningService]:
    """Starts the service, waits until it is ready, stops it at the end.

    Raises:
        RuntimeError: it did not get ready; the message holds its log.
    """
    command = [sys.executable, "-m", "service", "--bundles", str(bundle), "--port", "0", *flags]
    environment = {k: v for k, v in os.environ.items() if not k.startswith("FORETOKEN_")}
    with tempfile.NamedTemporaryFile("w+b", prefix="foretoken-benchmark-") as log:
        start = time.perf_counter()
        process = subprocess.Popen(
            [*command, "--log-level", "warning"],
            cwd=Path(__file__).resolve().parent.parent,
            stdout=log,
            stderr=subprocess.STDOUT,
            env=environment,
        )
        try:
            port = _wait_for_port(process, Path(log.name))
            yield RunningService(process.pid, port, time.perf_counter() - start)
        finally:
            _stop(process)


def memory_of(service: RunningService) -> list[ProcessMemory]:
    """The memory of every process of ``service``. Linux only."""
    supervisor, *rest = tree_memory(service.pid)
    return [replace(supervisor, name="supervisor"), *rest]


def tree_memory(pid: int) -> list[ProcessMemory]:
    """The memory of the process ``pid`` and of all below it. Linux only."""
    return [_process_memory(member) for member in (pid, *_descendants(pid))]


def _wait_for_port(process: subprocess.Popen[bytes], log: Path) -> int:
    deadline = time.monotonic() + _START_SECONDS
    while not (ready := _READY.search(log.read_bytes())):
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError(f"the service did not start:\n{log.read_text(errors='replace')}")
        time.sleep(_POLL_SECONDS)
    return int(ready[1])


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.send_signal(signal.SIGTERM)
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()  # its children die with it
        process.wait()


def _descendants(pid: int) -> list[int]:
    found = []
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        for child in map(int, children.read_text().split()):
            found += [child, *_descendants(child)]
    return found


def _process_memory(pid: int) -> ProcessMemory:
    process = Path(f"/proc/{pid}")
    name = (process / "comm").read_text().strip()  # an engine's ends with its model's
    return ProcessMemory(
        name="engine" if name.startswith("engine") else name,
        resident_mb=_megabytes(process / "status", "VmRSS:"),
        proportional_mb=_megabytes(process / "smaps_rollup", "Pss:"),
    )


def _megabytes(file: Path, key: str) -> float:
    for line in file.read_text().splitlines():
        if line.startswith(key):
            return int(line.split()[1]) * 1024 / 1e6
    raise RuntimeError(f"{file} has no {key}")
