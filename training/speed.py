"""How fast this machine trains a given network, from timing its matrix products for a moment.

Building the graph of a training step takes seconds, which a budget of a minute cannot spare for
every size that is tried. The products of a step take milliseconds, and are most of its time.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import cache
from pathlib import Path

import tensorflow as tf

from model.config import ModelConfig
from training.plan import Dtype

#: A training step against its forward products: twice as many backward, and all that is no product.
#: Measured on two processors; only the choice of sizes hangs on it.
STEP_PER_FORWARD = 3.0

#: Rows of a product that stands for one of ``batch * window`` rows.
_PROBE_ROWS = 512
_REPEATS = 3


def estimate_speed(config: ModelConfig, batch_size: int, window: int, dtype: Dtype) -> float:
    """Tokens per second that training ``config`` can be expected to reach here."""
    gates = config.num_gates * config.hidden_size
    rows = batch_size * window
    forward = 0.0
    for layer in range(config.num_layers):
        forward += (
            rows / _PROBE_ROWS * _product(_PROBE_ROWS, config.input_size(layer), gates, dtype)
        )
        forward += window * _product(batch_size, config.hidden_size, gates, dtype)
    if config.has_projection:
        forward += (
            rows
            / _PROBE_ROWS
            * _product(_PROBE_ROWS, config.hidden_size, config.embedding_size, dtype)
        )
    width = config.embedding_size if config.tie_embeddings else config.hidden_size
    forward += rows / _PROBE_ROWS * _product(_PROBE_ROWS, width, config.vocab_size, dtype)
    return rows / (STEP_PER_FORWARD * forward)


@cache
def _product(rows: int, inner: int, columns: int, dtype: Dtype) -> float:
    """Seconds of the product [rows, inner] x [inner, columns]: the quickest of a few."""
    left = tf.ones([rows, inner], dtype)
    right = tf.ones([inner, columns], dtype)
    return min(_seconds(lambda: tf.linalg.matmul(left, right).numpy()) for _ in range(_REPEATS))


def _seconds(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return time.perf_counter() - started


def processor_has_bfloat16(cpuinfo: Path = Path("/proc/cpuinfo")) -> bool:
    """Whether the processor multiplies bfloat16 in hardware: elsewhere it is never the faster."""
    try:
        text = cpuinfo.read_text(encoding="ascii", errors="replace")
    except OSError:
        return False
    return "amx_bf16" in text or "avx512_bf16" in text
