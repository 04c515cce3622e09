"""``python -m service`` as a child process, for tests over real HTTP."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import requests

PROJECT = Path(__file__).parent.parent
PATIENCE_SECONDS = 60.0
#: A start imports much and runs processes one after another; under load that takes its time.
START_SECONDS = 150.0


def wait_until(condition, what: str, seconds: float = PATIENCE_SECONDS):
    """Polls until ``condition()`` is true; returns its value."""
    deadline = time.monotonic() + seconds
    while not (value := condition()):
        assert time.monotonic() < deadline, f"waited in vain until {what}"
        time.sleep(0.02)
    return value


def _environment() -> dict[str, str]:
    """One engine, unless a flag says otherwise: few tests are about several, each costs time."""
    own = {name: value for name, value in os.environ.items() if not name.startswith("FORETOKEN_")}
    return own | {"FORETOKEN_ENGINES": "1"}


class RunningService:
    """A service on a free port, with its log in a file."""

    def __init__(self, bundles: Path, *flags: str) -> None:
        self._log = tempfile.NamedTemporaryFile("w+b", prefix="foretoken-test-")  # noqa: SIM115
        self.process = subprocess.Popen(
            [sys.executable, "-m", "service", "--bundles", str(bundles), "--port", "0", *flags],
            cwd=PROJECT,
            stdout=self._log,
            stderr=subprocess.STDOUT,
            env=_environment(),
        )
        self.session = requests.Session()
        try:
            wait_until(self._port_or_dead, "the service is ready", START_SECONDS)
        except BaseException:
            self.stop()
            raise
        self.url = f"http://127.0.0.1:{self._port_or_dead()}"

    def log(self) -> str:
        """All it has written so far."""
        return Path(self._log.name).read_text(errors="replace")

    def _port_or_dead(self) -> int | None:
        assert self.process.poll() is None, self.log()
        ready = re.search(r"^Ready in .* on http://[^ ]*:(\d+)", self.log(), re.MULTILINE)
        return int(ready[1]) if ready else None

    def post(self, path: str, body, **options) -> requests.Response:
        """POSTs ``body`` as JSON on a connection that is kept."""
        return self.session.post(self.url + path, json=body, timeout=PATIENCE_SECONDS, **options)

    def get(self, path: str, **options) -> requests.Response:
        """GETs ``path`` on a connection that is kept."""
        return self.session.get(self.url + path, timeout=PATIENCE_SECONDS, **options)

    def complete(self, **fields) -> dict:
        """The answer of ``/v1/completions``, which must be 200."""
        answer = self.post("/v1/completions", fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def load(self) -> tuple[int, int]:
        """Sequences running and waiting."""
        ready = self.get("/ready").json()
        return ready["running"], ready["waiting"]

    def children(self, of: int | None = None) -> dict[str, int]:
        """Process ids of the children, by process name."""
        found = {}
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                name, rest = (entry / "stat").read_text().split(" (", 1)[1].rsplit(") ", 1)
                if int(rest.split()[1]) == (of or self.process.pid):
                    found[name] = int(entry.name)
        return found

    def resident_mb(self) -> float:
        """Memory of all its processes together, as they have it now."""
        processes = [self.process.pid]
        for pid in processes:
            processes += self.children(pid).values()
        status = [Path(f"/proc/{pid}/status").read_text() for pid in processes]
        return sum(int(text.partition("VmRSS:")[2].split()[0]) for text in status) / 1024

    def stop(self) -> int:
        """Ends the service in good order; returns its exit code."""
        self.session.close()  # the server waits a little for kept connections
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(PATIENCE_SECONDS)
        self.close()
        return code

    def close(self) -> None:
        """Lets go of connections and log."""
        self.session.close()
        self._log.close()


@contextlib.contextmanager
def running_service(bundles: Path, *flags: str) -> Iterator[RunningService]:
    """A service for the length of a ``with``."""
    service = RunningService(bundles, *flags)
    try:
        yield service
    finally:
        if service.process.poll() is None:
            service.stop()
        service.close()
