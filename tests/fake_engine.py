"""An engine process on the fake runtime: ``python fake_engine.py ADDRESS [max_running ...]``."""

import argparse
import contextlib
import signal
import subprocess
import sys
from pathlib import Path

from fake_runtime import FakeRuntime

from service.engine.loop import EngineLoop
from service.engine.server import EngineServer

ROOT = Path(__file__).resolve().parent.parent


@contextlib.contextmanager
def fake_engine(address, **options):
    """A running engine process; killed at the end. ``options`` as ``main``'s flags."""
    flags = [f"--{name.replace('_', '-')}={value}" for name, value in options.items()]
    process = subprocess.Popen(
        [sys.executable, __file__, address, *flags],
        env={"PYTHONPATH": f"{ROOT}:{ROOT / 'tests'}"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("address")
    parser.add_argument("--max-running", type=int, default=4)
    parser.add_argument("--max-queue", type=int, default=8)
    parser.add_argument("--step-seconds", type=float, default=0.0)
    parser.add_argument("--drain-seconds", type=float, default=10.0)
    parser.add_argument("--worker-timeout-seconds", type=float, default=10.0)
    arguments = parser.parse_args()
    runtime = FakeRuntime(script=(5, 6, 6, 7))
    loop = EngineLoop(
        runtime,
        end_of_text_id=0,
        max_running=arguments.max_running,
        max_queue=arguments.max_queue,
    )
    runtime.step_seconds = arguments.step_seconds
    server = EngineServer(
        loop,
        arguments.address,
        drain_seconds=arguments.drain_seconds,
        worker_timeout_seconds=arguments.worker_timeout_seconds,
    )
    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    server.run()


if __name__ == "__main__":
    main()
