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
from training.towers import num_towers

#: A training step against its forward products: twice as many backward, and all that is no product.
#: Measured; only the choice of sizes hangs on it.
STEP_PER_FORWARD = 4.0

#: Rows of features that stand for all rows of a step.
_PROBE_ROWS = 256
_REPEATS = 3


def estimate_speed(config: ModelConfig, batch_size: int, window: int, dtype: Dtype) -> float:
    """Tokens per second that training ``config`` can be expected to reach here."""
    towers = num_towers(batch_size)
    rows = batch_size // towers
    gates = config.num_gates * config.hidden_size
    forward = 0.0
    for layer in range(config.num_layers):
        inner = config.input_size(layer) + config.hidden_size
        forward += window * _product(gates, inner, rows, dtype)
    probes = rows * window / _PROBE_ROWS
    if config.has_projection:
        forward += probes * _product(config.embedding_size, config.hidden_size, _PROBE_ROWS, dtype)
    width = config.embedding_size if config.tie_embeddings else config.hidden_size
    forward += probes * _product(config.vocab_size, width, _PROBE_ROWS, dtype)
    return batch_size * window / (STEP_PER_FORWARD * forward)


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
