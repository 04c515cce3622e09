"""How fast this machine trains a given network: a few real steps, timed."""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np

from model.config import ModelConfig
from training.batches import Window
from training.plan import Dtype, Plan
from training.training_step import TrainingStep

#: Seconds that timed steps may take, tracing aside.
PROBE_SECONDS = 1.5


def measure_speed(config: ModelConfig, batch_size: int, window: int, dtype: Dtype) -> float:
    """Tokens per second of training ``config``: the median of a few steps on random tokens."""
    plan = Plan.for_speed(config, batch_size, window, dtype)
    step = TrainingStep(plan)
    random = np.random.default_rng(0)
    ids = random.integers(config.vocab_size, size=(batch_size, window + 1), dtype=np.int32)
    inputs = ids[:, :-1]
    piece = Window(inputs, ids[:, 1:], np.zeros(inputs.shape, np.bool_), False)
    step.train(piece, 0, 1e-3)
    times: list[float] = []
    while len(times) < 2 or (sum(times) < PROBE_SECONDS and len(times) < 20):
        started = time.perf_counter()
        step.train(piece, len(times) + 1, 1e-3)
        times.append(time.perf_counter() - started)
    return batch_size * window / float(np.median(times))


def processor_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 in hardware; only then can it be the faster one."""
    try:
        text = cpuinfo.read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "amx_bf16" in text or "avx512_bf16" in text
