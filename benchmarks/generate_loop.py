"""The alternatives: the same model, float32, generated from with TensorFlow/Keras and PyTorch.

    python -m benchmarks.generate_loop CONFIG.json WEIGHTS.h5

Three loops, each drawing from the whole distribution at temperature 1 and free to use all cores:
TensorFlow with one compiled step called from Python, as its text generation tutorial has it;
TensorFlow with the whole loop compiled; PyTorch eager. One that is not installed is left out.
Every step's logits are compared with the NumPy oracle's. A process of its own, so that what it
loads is not in anyone else's memory.
"""

from __future__ import annotations

import importlib.util
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import engine
from benchmarks.record import Result, find_median
from benchmarks.subject import Subject
from model.config import ModelConfig
from model.runtime.numpy_runtime import NumpyRuntime
from model.state import FloatArray

ROWS = (1, 32)
NUM_TOKENS = 128
REPETITIONS = 5
STEP_LOOP = "Keras, loop in Python"
COMPILED_LOOP = "Keras, loop compiled"
TORCH_LOOP = "PyTorch"

#: More than this, and it is not the same model.
_TOLERANCE = 1e-3
_CHECKED_TOKENS = 8
_TIMEOUT_SECONDS = 150

#: Generates for a number of rows, to the end.
Generate = Callable[[int], object]
#: Logits [tokens, vocab] after each of the token ids.
Logits = Callable[[Sequence[int]], FloatArray]


def measure(subject: Subject, engine_results: Sequence[Result]) -> list[Result]:
    """Tokens a second of every loop, and as shares of the engine's in the same run."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        json.dump(subject.config.to_dict(), file)
        file.flush()
        command = [sys.executable, "-m", "benchmarks.generate_loop", file.name]
        command.append(str(subject.weights))
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, timeout=_TIMEOUT_SECONDS
        )
    if done.returncode:
        raise RuntimeError(f"the generate loops failed:\n{done.stderr[-2000:]}")
    return [_result(line, engine_results) for line in json.loads(done.stdout.splitlines()[-1])]


def _result(line: Mapping[str, Any], engine_results: Sequence[Result]) -> Result:
    reference_case = engine.case_of(line["num_rows"], "top_p 0.95")
    reference = find_median(engine_results, reference_case, line["metric"])
    values = tuple(line["values"])
    return Result(
        benchmark="generate loop",
        case=engine.case_of(line["num_rows"], line["loop"]),
        metric=line["metric"],
        values=values,
        shares=tuple(value / reference for value in values) if reference else (),
        share_of=f"engine, {reference_case}" if reference else "",
    )


def _measure_here(config: ModelConfig, weights: Mapping[str, FloatArray]) -> list[dict[str, Any]]:
    loops: dict[str, Generate] = {}
    if importlib.util.find_spec("tensorflow"):
        from benchmarks.keras_loop import KerasLoop  # noqa: PLC0415  where it is installed

        keras_loop = KerasLoop(config, weights, NUM_TOKENS)
        _check_same_model("Keras", config, weights, keras_loop.logits)
        loops[STEP_LOOP] = keras_loop.generate_step_by_step
        loops[COMPILED_LOOP] = keras_loop.generate_in_one_call
    if importlib.util.find_spec("torch") and config.cell == "lstm":
        from benchmarks.torch_loop import TorchLoop  # noqa: PLC0415  likewise

        torch_loop = TorchLoop(config, weights, NUM_TOKENS)
        _check_same_model("PyTorch", config, weights, torch_loop.logits)
        loops[TORCH_LOOP] = torch_loop.generate
    return [line for num_rows in ROWS for line in _measure_rows(loops, num_rows)]


def _measure_rows(loops: Mapping[str, Generate], num_rows: int) -> list[dict[str, Any]]:
    num_tokens = num_rows * NUM_TOKENS
    values: dict[tuple[str, str], list[float]] = {
        (metric, name): [] for metric in engine.METRICS for name in loops
    }
    for generate in loops.values():
        generate(num_rows)  # warms up: compiles
    for _ in range(REPETITIONS):
        for name, generate in loops.items():
            start, processor_start = time.perf_counter(), time.process_time()
            generate(num_rows)
            spent = time.perf_counter() - start, time.process_time() - processor_start
            for metric, seconds in zip(engine.METRICS, spent, strict=True):
                values[metric, name].append(num_tokens / seconds)
    return [
        {"loop": name, "num_rows": num_rows, "metric": metric, "values": measured}
        for (metric, name), measured in values.items()
    ]


def _check_same_model(
    name: str, config: ModelConfig, weights: Mapping[str, FloatArray], logits: Logits
) -> None:
    """Raises ``RuntimeError`` unless ``logits`` are those of the NumPy oracle."""
    token_ids = np.random.default_rng(0).integers(0, config.vocab_size, _CHECKED_TOKENS, np.int32)
    oracle = NumpyRuntime(config, weights)
    state = oracle.initial_state(1)
    expected = []
    for token_id in token_ids:
        row, state = oracle.step(np.array([token_id], np.int32), state)
        expected.append(row[0])
    difference = float(np.abs(np.stack(expected) - logits(token_ids.tolist())).max())
    if not difference < _TOLERANCE:
        raise RuntimeError(f"{name} computes another model: logits differ by {difference}")


def main() -> None:
    """Measures the loops that are installed; the last line on standard output is JSON."""
    from model.network.weights_file import read_weights  # noqa: PLC0415  h5py, in the child only

    config = ModelConfig.from_dict(json.loads(Path(sys.argv[1]).read_text("utf-8")))
    print(json.dumps(_measure_here(config, read_weights(Path(sys.argv[2]), config))))


if __name__ == "__main__":
    main()
