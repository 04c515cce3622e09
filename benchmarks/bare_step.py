"""The network alone, without engine or HTTP: time of a step and of reading a prompt, and memory.

    python -m benchmarks.bare_step --cell lstm --vocab 8192 --hidden 512 --layers 2

Weights are random: speed does not depend on them. Each figure is the best of many runs, as the
processor time of this thread, so that what else the machine does disturbs least.
"""

from __future__ import annotations

import argparse
import json
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from model.config import ModelConfig
from model.runtime.litert_runtime import LiteRTRuntime

STEP_BATCHES = (1, 3, 8, 12, 32, 33, 64)
PREFILL_SHAPES = ((1, 1), (1, 8), (1, 256), (4, 64), (16, 64))
SECONDS_PER_FIGURE = 0.4

EXPORT_SCRIPT = """
import json, sys
from pathlib import Path
import numpy as np
from model.config import ModelConfig
from model.network.export import export_network

network, sizes, quantise = sys.argv[1], json.loads(sys.argv[2]), sys.argv[3] == "int8"
config = ModelConfig.from_dict(sizes)
rng = np.random.default_rng(0)
weights = {
    name: rng.normal(size=shape).astype(np.float32) / shape[-1] ** 0.5
    for name, shape in config.weight_shapes().items()
}
Path(network).write_bytes(export_network(config, weights, quantise=quantise))
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints a table, and writes JSON where ``--out`` says."""
    options = _parser().parse_args(arguments)
    config = ModelConfig(
        cell=options.cell,
        vocab_size=options.vocab,
        embedding_size=options.embedding,
        hidden_size=options.hidden,
        num_layers=options.layers,
    )
    result = measure(config, "float32" if options.float32 else "int8", options.threads)
    print_table(config, result)
    if options.out:
        options.out.parent.mkdir(parents=True, exist_ok=True)
        options.out.write_text(json.dumps(result, indent=2) + "\n", encoding="utf-8")
    return 0


def measure(config: ModelConfig, weights: str, num_threads: int) -> dict[str, Any]:
    """All figures for one network with ``weights`` "int8" or "float32", ready for JSON."""
    with tempfile.TemporaryDirectory() as directory:
        network = Path(directory) / "network.tflite"
        # In a process of its own, so that TensorFlow is not in this one's memory.
        command = [
            sys.executable,
            "-c",
            EXPORT_SCRIPT,
            str(network),
            json.dumps(config.to_dict()),
            weights,
        ]
        subprocess.run(command, check=True, stderr=subprocess.DEVNULL)
        file_mb = network.stat().st_size / 1e6
        before_mb = resident_mb()
        start = time.perf_counter()
        runtime = LiteRTRuntime(network, config, num_threads)
        load_seconds = time.perf_counter() - start
        return {
            "benchmark": "bare_step",
            "machine": {"processor": _processor(), "python": platform.python_version()},
            "config": config.to_dict(),
            "weights": weights,
            "threads": num_threads,
            "file_mb": file_mb,
            "load_seconds": load_seconds,
            "resident_mb": {"before": before_mb, "loaded": resident_mb()},
            "figures": figures(runtime),
        }


def figures(runtime: LiteRTRuntime) -> list[dict[str, Any]]:
    """Times of steps and of prompts, with the memory in use after each."""
    config = runtime.config
    rng = np.random.default_rng(0)
    lines = []
    for batch in STEP_BATCHES:
        ids = rng.integers(0, config.vocab_size, batch, np.int32)
        state = rng.uniform(-0.5, 0.5, (batch, config.state_size)).astype(np.float32)
        milliseconds = best_milliseconds(partial(runtime.step, ids, state))
        lines.append(_figure("step", batch, 1, milliseconds))
    for batch, num_tokens in PREFILL_SHAPES:
        ids = rng.integers(0, config.vocab_size, (batch, num_tokens), np.int32)
        state = runtime.initial_state(batch)
        milliseconds = best_milliseconds(partial(runtime.prefill, ids, state))
        lines.append(_figure("prefill", batch, num_tokens, milliseconds))
    return lines


def best_milliseconds(run: Callable[[], object]) -> float:
    """The shortest of the runs that fit into ``SECONDS_PER_FIGURE``, at least three."""
    run()
    durations: list[float] = []
    until = time.perf_counter() + SECONDS_PER_FIGURE
    while len(durations) < 3 or time.perf_counter() < until:
        start = time.thread_time()
        run()
        durations.append(time.thread_time() - start)
    return min(durations) * 1000


def print_table(config: ModelConfig, result: dict[str, Any]) -> None:
    """The figures, for people."""
    resident = result["resident_mb"]
    print(
        f"{config.cell} {config.num_layers} x {config.hidden_size}, vocabulary "
        f"{config.vocab_size}, {config.num_weights() / 1e6:.1f} M weights, {result['weights']}, "
        f"{result['threads']} thread(s), {result['machine']['processor']}\n"
        f"file {result['file_mb']:.1f} MB, loaded in {result['load_seconds']:.2f} s, "
        f"resident {resident['before']:.0f} MB before and {resident['loaded']:.0f} MB after"
    )
    print(f"{'':9}{'batch':>6}{'tokens':>8}{'ms':>10}{'us/token':>10}{'tokens/s':>10}{'MB':>6}")
    for line in result["figures"]:
        print(
            f"{line['what']:9}{line['batch']:6}{line['tokens_per_row']:8}"
            f"{line['milliseconds']:10.3f}{1e6 / line['tokens_per_second']:10.1f}"
            f"{line['tokens_per_second']:10.0f}{line['resident_mb']:6.0f}"
        )


def resident_mb() -> float:
    """Memory of this process in use, shared pages included."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError("/proc/self/status has no VmRSS")


def _figure(what: str, batch: int, tokens_per_row: int, milliseconds: float) -> dict[str, Any]:
    return {
        "what": what,
        "batch": batch,
        "tokens_per_row": tokens_per_row,
        "milliseconds": milliseconds,
        "tokens_per_second": batch * tokens_per_row / milliseconds * 1000,
        "resident_mb": resident_mb(),
    }


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bare_step")
    parser.add_argument("--cell", default="lstm", choices=["simple_rnn", "gru", "lstm"])
    parser.add_argument("--vocab", type=int, default=8192)
    parser.add_argument("--embedding", type=int, default=512)
    parser.add_argument("--hidden", type=int, default=512)
    parser.add_argument("--layers", type=int, default=2)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--float32", action="store_true", help="weights not rounded to int8")
    parser.add_argument("--out", type=Path, help="JSON file, by custom in benchmarks/results/")
    return parser


if __name__ == "__main__":
    raise SystemExit(main())
