"""``python -m service.engine``: one engine process by itself, for benchmarks and debugging."""

from __future__ import annotations

import argparse
import logging
import sys
from pathlib import Path

from model.bundle.load import load_bundle
from model.errors import ForetokenError
from service.busy_board import BusyBoard
from service.child_process import die_with_parent
from service.engine.main import run_engine
from service.settings import resolve_settings

_SETTINGS = (
    "max_running",
    "max_queue",
    "engine_threads",
    "engine_threads_alone",
    "compiled_sampling",
    "drain_timeout_s",
)


def main() -> int:
    """Runs the engine until SIGTERM; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m service.engine", description=__doc__)
    parser.add_argument("--bundle", type=Path, required=True, help="the bundle to run")
    parser.add_argument("--socket", required=True, help="where to listen, such as ipc:///tmp/e")
    for name in _SETTINGS:
        parser.add_argument("--" + name.replace("_", "-"), dest=name, metavar="VALUE")
    arguments = parser.parse_args()
    logging.basicConfig(level="INFO", format="%(asctime)s %(levelname)s %(name)s: %(message)s")
    die_with_parent()
    try:
        settings = resolve_settings({name: getattr(arguments, name) for name in _SETTINGS}, {})
        seat = BusyBoard().take_seat()
        return run_engine(load_bundle(arguments.bundle), arguments.socket, settings, seat)
    except ForetokenError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
