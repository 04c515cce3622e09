"""llama.cpp's server in the same closed loop: for whoever has one, with a GGUF model.

    python -m benchmarks.llama_cpp path/to/llama-server --gguf model.gguf [--bundle DIR]

Ours runs beside it, and the two are asked in turn, so that both have the same hour of the machine.
It is given as the path of the server's binary, which is started here, or as the URL of one that
runs. The requests are those of ``http_load`` in the words of its own endpoint, ``/completion``:
128 tokens whatever is sampled, nothing out of its cache of prompts. For a fair comparison the model
should use as many weights for a token as ours, in 8 bits: ``gguf_model`` makes one.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import http_load
from benchmarks.command import run_part, subject_parser
from benchmarks.http_load import closed_load
from benchmarks.load_client import put_load
from benchmarks.prompts import Prompts
from benchmarks.record import Result
from benchmarks.service_process import ProcessMemory, memory_of, running_service, tree_memory
from benchmarks.subject import Subject

REPETITIONS = 5

_PATH = "/completion"
_BODY = {
    "n_predict": http_load.NUM_TOKENS,
    "ignore_eos": True,
    "cache_prompt": False,
    "temperature": 1.0,
    "top_p": 0.95,
    "top_k": 0,
    "min_p": 0.0,
}
#: With few candidates its sampling, which sorts them, takes half of the time.
_FEW = {"top_k": 40}
_OURS_OF_FEW = {**http_load.COMPLETION, **_FEW}
#: Of each load on ours the same load on theirs.
CASES = {
    http_load.ONE_PLAIN: http_load.Case("llama.cpp, 1 client", 1, 10, _PATH, 20, _BODY),
    http_load.MANY_PLAIN: http_load.Case("llama.cpp, 32 clients", 32, 6, _PATH, 20, _BODY),
    http_load.completions("1 client, top_k 40", 1, 10, _OURS_OF_FEW): http_load.Case(
        "llama.cpp, 1 client, top_k 40", 1, 10, _PATH, 20, {**_BODY, **_FEW}
    ),
    http_load.completions("32 clients, top_k 40", 32, 6, _OURS_OF_FEW): http_load.Case(
        "llama.cpp, 32 clients, top_k 40", 32, 6, _PATH, 20, {**_BODY, **_FEW}
    ),
}
_NUM_SLOTS = 32
#: Of each slot: prompt and answer, with room for a tokenizer that makes more tokens of the prompt.
_CONTEXT_TOKENS = 512
_START_SECONDS = 60.0


def measure(
    subject: Subject, server: str, gguf: Path | None, repetitions: int = REPETITIONS
) -> list[Result]:
    """Tokens a second of 1 and 32 clients of either, in turn; theirs as shares of ours; memory.

    Args:
        subject: ours.
        server: path or URL of llama.cpp's server.
        gguf: the model, where it is to be started.
        repetitions: how often.

    Raises:
        RuntimeError: a server does not start, or does not answer as expected.
    """
    prompts = Prompts(subject)
    rates: dict[http_load.Case, list[float]] = {}
    with running_service(subject.directory) as service, _running(server, gguf) as theirs:
        for _ in range(1 + repetitions):
            for case, their_case in CASES.items():
                rates.setdefault(case, []).append(_rate(case, prompts, service.port))
                rates.setdefault(their_case, []).append(_rate(their_case, prompts, theirs.port))
        memory = _memory("Foretoken, resident, all processes", memory_of(service))
        if theirs.pid is not None:
            memory += _memory("llama.cpp, resident", tree_memory(theirs.pid))
    results = []
    for case, their_case in CASES.items():
        ours, their_rates = rates[case][1:], rates[their_case][1:]  # after warming up
        name = f"Foretoken beside it, {case.name}"
        results += [
            _result(name, "tokens/s", ours),
            replace(
                _result(their_case.name, "tokens/s", their_rates),
                shares=tuple(rate / own for rate, own in zip(their_rates, ours, strict=True)),
                share_of=name,
            ),
        ]
    return results + memory


def _rate(case: http_load.Case, prompts: Prompts, port: int) -> float:
    outcome = put_load(closed_load(case, prompts, port))
    if outcome.num_failed or outcome.refusals:
        raise RuntimeError(f"{case.name}: some requests failed, which makes no figure")
    return outcome.num_tokens / outcome.wall_seconds


def _memory(name: str, processes: Sequence[ProcessMemory]) -> list[Result]:
    return [_result(name, "MB", [sum(process.proportional_mb for process in processes)])]


def _result(case: str, metric: str, values: Sequence[float]) -> Result:
    return Result(benchmark="llama.cpp", case=case, metric=metric, values=tuple(values))


@dataclass(frozen=True)
class _Server:
    """llama.cpp's server, ready on 127.0.0.1; ``pid`` where it was started here."""

    port: int
    pid: int | None = None


@contextlib.contextmanager
def _running(server: str, gguf: Path | None) -> Iterator[_Server]:
    """A server that is ready."""
    if server.startswith("http://"):
        yield _Server(urlsplit(server).port or 80)
        return
    if gguf is None:
        raise RuntimeError("say which model llama.cpp's server is to load, with --gguf")
    port = _free_port()
    flags = {
        "--model": gguf,
        "--host": "127.0.0.1",
        "--port": port,
        "--parallel": _NUM_SLOTS,
        "--ctx-size": _NUM_SLOTS * _CONTEXT_TOKENS,
        "--threads": os.cpu_count(),
    }
    process = subprocess.Popen(
        [server, *(str(part) for flag in flags.items() for part in flag)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        _wait_until_ready(process, port)
        yield _Server(port, process.pid)
    finally:
        process.terminate()
        process.wait()


def _wait_until_ready(process: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while not _is_healthy(port):
        if process.poll() is not None:
            raise RuntimeError(f"llama.cpp's server ended with exit code {process.returncode}")
        if time.monotonic() > deadline:
            raise RuntimeError("llama.cpp's server did not get ready")
        time.sleep(0.05)


def _is_healthy(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=1.0)
    try:
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    except OSError:
        return False
    finally:
        connection.close()


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures; returns the exit code."""
    parser = subject_parser(
        "python -m benchmarks.llama_cpp", "llama.cpp's server and ours in turn."
    )
    parser.add_argument("server", help="path of llama.cpp's server, or the URL of one that runs")
    parser.add_argument("--gguf", type=Path, help="the model it is to load")

    def measure_both(subject: Subject, options: argparse.Namespace) -> list[Result]:
        return measure(subject, options.server, options.gguf)

    return run_part("llama-cpp", measure_both, parser.parse_args(arguments))


if __name__ == "__main__":
    raise SystemExit(main())
