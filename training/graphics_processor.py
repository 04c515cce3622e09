"""Whether training has a graphics processor."""

from __future__ import annotations

import tensorflow as tf


def sees_graphics_processor() -> bool:
    """Whether TensorFlow has one to compute on."""
    return bool(tf.config.list_logical_devices("GPU"))
