"""Training steps of ours beside those of other frameworks, taken in turn.

    python -m benchmarks.training_speed --size 2x512 --vocab 65 --batch 64 --window 128

Every contender is a process of its own, since each sets its threads for the whole process; all have
the same weights and read the same tokens, and their first loss must agree. They train in turn, one
step each, while the others wait. PyTorch takes part where it is installed.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from benchmarks.record import Result, describe_machine, print_tables
from benchmarks.subject import check_size

OURS = "Foretoken, float32"

#: By name: the class in ``benchmarks.training_contenders`` and the dtype of its products.
CONTENDERS = {
    OURS: ("Foretoken", "float32"),
    "Foretoken, bfloat16": ("Foretoken", "bfloat16"),
    "keras.layers.LSTM, float32": ("KerasLayers", "float32"),
    "keras.layers.LSTM, bfloat16": ("KerasLayers", "bfloat16"),
    "PyTorch nn.LSTM, float32": ("TorchModule", "float32"),
    "PyTorch nn.LSTM, bfloat16": ("TorchModule", "bfloat16"),
}

#: First losses may differ by this much: float32 adds up in other orders, bfloat16 rounds.
TOLERANCE = {"float32": 1e-3, "bfloat16": 3e-2}


class Contender:
    """A process that makes training steps when told to.

    Args:
        name: a key of ``CONTENDERS``.
        task: sizes, as ``benchmarks.training_contenders`` reads them.
    """

    def __init__(self, name: str, task: dict[str, int]) -> None:
        kind, dtype = CONTENDERS[name]
        self.name = name
        self.dtype = dtype
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.training_contenders", kind, dtype, json.dumps(task)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.kill()
        self._process.wait()

    def step(self) -> dict[str, float]:
        """Trains once; wall-clock and processor seconds, and the loss before the update.

        Raises:
            RuntimeError: the process has died.
        """
        stdin, stdout = self._process.stdin, self._process.stdout
        if stdin is None or stdout is None:
            raise RuntimeError(f"{self.name} has no pipes")
        try:
            stdin.write("step\n")
            stdin.flush()
            return dict(json.loads(stdout.readline()))
        except (OSError, json.JSONDecodeError) as error:
            raise RuntimeError(f"{self.name} has died; run it by hand to see why") from error


def measure(task: dict[str, int], names: Sequence[str], repeats: int) -> list[Result]:
    """Tokens a second of every contender, as shares of Keras' float32 layer.

    Raises:
        RuntimeError: a contender died, or computes another loss than ours.
    """
    steps: dict[str, list[dict[str, float]]] = {name: [] for name in names}
    with ExitStack() as running:
        contenders = [running.enter_context(Contender(name, task)) for name in names]
        for contender in contenders:
            first = contender.step()
            contender.step()
            steps[contender.name].append(first)
            _check_loss(contender, first["loss"], steps[names[0]][0]["loss"])
        for _ in range(repeats):
            for contender in contenders:
                steps[contender.name].append(contender.step())
    tokens = task["batch_size"] * task["window"]
    baseline = "keras.layers.LSTM, float32"
    results = []
    for clock, metric in (("seconds", "tokens/s"), ("cpu_seconds", "tokens/core s")):
        rates = {n: tuple(tokens / s[clock] for s in found[1:]) for n, found in steps.items()}
        for name in names:
            shares = tuple(
                a / b for a, b in zip(rates[name], rates.get(baseline, ()), strict=False)
            )
            results.append(
                Result(
                    benchmark=f"training step, {task}",
                    case=name,
                    metric=metric,
                    values=rates[name],
                    shares=shares,
                    share_of=baseline if shares else "",
                )
            )
    return results


def _check_loss(contender: Contender, loss: float, expected: float) -> None:
    if abs(loss - expected) > TOLERANCE[contender.dtype] * expected:
        raise RuntimeError(
            f"{contender.name} is not the same model: its first loss is {loss:.5f}, ours "
            f"{expected:.5f}"
        )


def main(arguments: Sequence[str] | None = None) -> int:
    """Measures, prints a table and, where asked to, writes JSON; returns the exit code."""
    options = _parser().parse_args(arguments)
    layers, hidden_size = (int(part) for part in options.size.split("x"))
    task = {
        "num_layers": layers,
        "hidden_size": hidden_size,
        "vocab_size": options.vocab,
        "batch_size": options.batch,
        "window": options.window,
    }
    has_torch = importlib.util.find_spec("torch") is not None
    names = [
        name
        for name, (kind, dtype) in CONTENDERS.items()
        if (has_torch or kind != "TorchModule") and (options.bfloat16 or dtype == "float32")
    ]
    try:
        results = measure(task, names, options.repeats)
    except RuntimeError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    print_tables(results)
    if options.out:
        record: dict[str, Any] = {
            "machine": describe_machine(),
            "task": task,
            "results": [result.to_dict() for result in results],
        }
        options.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.training_speed", allow_abbrev=False)
    parser.add_argument("--size", type=check_size, default="2x512", help="LAYERSxHIDDEN of an LSTM")
    parser.add_argument("--vocab", type=int, default=65, help="token ids")
    parser.add_argument("--batch", type=int, default=64, help="rows of a step")
    parser.add_argument("--window", type=int, default=128, help="time steps of a step")
    parser.add_argument("--repeats", type=int, default=5, help="steps that are timed")
    parser.add_argument("--bfloat16", action="store_true", help="also with bfloat16 products")
    parser.add_argument("--out", type=Path, help="file for JSON")
    return parser


if __name__ == "__main__":
    sys.exit(main())
