"""How TensorFlow shares out the processor's cores; loads nothing heavy itself."""

from __future__ import annotations

import os


def num_cores() -> int:
    """Processor cores that this process may use."""
    return len(os.sched_getaffinity(0))


def use_cores() -> None:
    """Has TensorFlow run each operator on one core, and as many operators as there are cores.

    Needs to come before TensorFlow's first operation. What the environment says already, stays.
    """
    os.environ.setdefault("TF_NUM_INTRAOP_THREADS", "1")
    os.environ.setdefault("TF_NUM_INTEROP_THREADS", str(num_cores()))
