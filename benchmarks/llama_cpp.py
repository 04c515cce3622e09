"""llama.cpp's server in the same closed loop: for whoever has one, with a GGUF model.

It is given as the path of the server's binary, which is started here, or as the URL of one that
runs. The requests are those of ``http_load`` in the words of its own endpoint, ``/completion``:
128 tokens whatever is sampled, nothing out of its cache of prompts. For a fair comparison the model
should use as many weights for a token as ours, in 8 bits.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks import http_load
from benchmarks.http_load import closed_load
from benchmarks.load_client import Outcome, put_load
from benchmarks.prompts import Prompts
from benchmarks.record import Result, find_median
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
}
#: Of each load on ours the same load on theirs.
CASES = {
    http_load.ONE_PLAIN: http_load.Case("llama.cpp, 1 client", 1, 10, _PATH, 20, _BODY),
    http_load.MANY_PLAIN: http_load.Case("llama.cpp, 32 clients", 32, 6, _PATH, 20, _BODY),
}
_NUM_SLOTS = 32
#: Of each slot: prompt and answer, with room for a tokenizer that makes more tokens of the prompt.
_CONTEXT_TOKENS = 512
_START_SECONDS = 60.0


def measure(
    subject: Subject,
    server: str,
    gguf: Path | None,
    http_results: Sequence[Result],
    repetitions: int = REPETITIONS,
) -> list[Result]:
    """Tokens a second of 1 and 32 clients, and as shares of what the same get from us.

    Args:
        subject: ours, whose prompts are sent.
        server: path or URL of llama.cpp's server.
        gguf: the model, where it is to be started.
        http_results: ours of the same run.
        repetitions: how often.

    Raises:
        RuntimeError: the server does not start, or does not answer as expected.
    """
    prompts = Prompts(subject)
    outcomes: dict[http_load.Case, list[Outcome]] = {case: [] for case in CASES}
    with _running(server, gguf) as port:
        for _ in range(1 + repetitions):
            for ours, case in CASES.items():
                outcomes[ours].append(put_load(closed_load(case, prompts, port)))
    for case_outcomes in outcomes.values():
        del case_outcomes[0]  # warmed up
    return [_result(ours, measured, http_results) for ours, measured in outcomes.items()]


def _result(
    ours: http_load.Case, outcomes: Sequence[Outcome], http_results: Sequence[Result]
) -> Result:
    case = CASES[ours]
    if any(outcome.num_failed for outcome in outcomes):
        raise RuntimeError(f"{case.name}: some requests failed, which makes no figure")
    rates = tuple(outcome.num_tokens / outcome.wall_seconds for outcome in outcomes)
    reference = find_median(http_results, ours.name)
    return Result(
        benchmark="llama.cpp",
        case=case.name,
        metric="tokens/s",
        values=rates,
        shares=tuple(rate / reference for rate in rates) if reference else (),
        share_of=f"Foretoken, {ours.name}" if reference else "",
    )


@contextlib.contextmanager
def _running(server: str, gguf: Path | None) -> Iterator[int]:
    """The port on 127.0.0.1 of a server that is ready."""
    if server.startswith("http://"):
        yield urlsplit(server).port or 80
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
        yield port
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
