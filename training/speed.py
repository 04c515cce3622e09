"""How fast this machine trains a given network, from timing what a step consists of for a moment.

Building the graph of a training step takes seconds, which a budget of a minute cannot spare for
every size that is tried. Its matrix products take milliseconds; the rest is reckoned from the time
of one pass over an array, for with bfloat16 products and a large vocabulary it is more than half.
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

#: The products of a training step against those of its way forward: twice as many backward.
STEP_PER_FORWARD = 3.0

#: Passes over an array that all the rest takes: for each logit (softmax, its gradient), for each
#: gate of each token (the walk forward and back) and for each weight (gradient, optimizer, mean).
#: Measured on steps of many sizes (docs/experiments.md); only the choice of sizes hangs on it.
PASSES_PER_LOGIT = 3.5
PASSES_PER_GATE = 8.0
PASSES_PER_WEIGHT = 1.0

#: Rows of features that stand for all rows of a step.
_PROBE_ROWS = 256
#: Numbers of the array that is passed over: more than the near cache holds.
_PASSED_NUMBERS = 2**20

#: What is timed is timed so often at least, and for so long: what disturbs it has mostly gone by.
_REPEATS = 3
_TRIAL_SECONDS = 0.015


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
    passed = rows * window * config.vocab_size * PASSES_PER_LOGIT
    passed += rows * window * gates * config.num_layers * PASSES_PER_GATE
    passed += config.num_weights() * PASSES_PER_WEIGHT
    return batch_size * window / (STEP_PER_FORWARD * forward + _pass() * passed)


@cache
def _product(rows: int, inner: int, columns: int, dtype: Dtype) -> float:
    """Seconds of the product [rows, inner] x [inner, columns]: the quickest of a few."""
    left = tf.ones([rows, inner], dtype)
    right = tf.ones([inner, columns], dtype)
    return quickest(lambda: tf.linalg.matmul(left, right).numpy())


@cache
def _pass() -> float:
    """Seconds for each number of a pass over an array."""
    numbers = tf.ones([_PASSED_NUMBERS])
    return quickest(lambda: tf.exp(numbers).numpy()) / _PASSED_NUMBERS


def quickest(work: Callable[[], object]) -> float:
    """Seconds that ``work`` takes where nothing disturbs it."""
    work()  # which finds memory for the others
    seconds: list[float] = []
    while len(seconds) < _REPEATS or sum(seconds) < _TRIAL_SECONDS:
        seconds.append(_seconds(work))
    return min(seconds)


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
