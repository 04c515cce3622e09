"""``compiled``: elementwise arithmetic as a few loops over memory, by XLA."""

from __future__ import annotations

from collections.abc import Callable
from typing import ParamSpec, TypeVar

import tensorflow as tf

_Parameters = ParamSpec("_Parameters")
_Result = TypeVar("_Result")


def compiled(function: Callable[_Parameters, _Result]) -> Callable[_Parameters, _Result]:
    """``function`` of tensors, compiled by XLA when it is first called with their shapes.

    TensorFlow's operators each read and write all of their tensors; compiled together, elementwise
    ones become a few loops. A call costs as much as some ten operators. Nothing else is to be
    compiled: matrix products and transpositions are slower than TensorFlow's own, and sums and
    maxima over an axis are not safe from two threads at once (docs/experiments.md, Training).
    """
    made: Callable[_Parameters, _Result] = tf.function(function, jit_compile=True)
    return made
