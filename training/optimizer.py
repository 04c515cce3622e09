"""AdamW with gradient clipping and an exponential moving average of the weights, as one pass.

Loshchilov & Hutter 2019, Decoupled Weight Decay Regularization; Kingma & Ba 2015, Adam.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import tensorflow as tf

from model.network.compiled import compiled
from model.state import FloatArray

BETA_1 = 0.9
BETA_2 = 0.99
EPSILON = 1e-8


@dataclass(frozen=True)
class Schedule:
    """The learning rate by the share of the budget spent.

    It rises in a straight line over the first ``warm_up`` share, and over ``warm_up_steps`` updates
    where these are no more than the share ``longest_warm_up``, then falls to ``floor`` of its peak
    along half a cosine (Loshchilov & Hutter 2017, SGDR). Adam's second moments are means of some
    hundred gradients: before they are, large steps go anywhere.
    """

    peak: float
    warm_up: float = 0.02
    floor: float = 0.02
    warm_up_steps: int = 100
    longest_warm_up: float = 0.1

    def at(self, share: float, step: int) -> float:
        """Learning rate of update ``step`` (from 0), ``share`` (0 to 1) of the budget spent."""
        by_share = max(share / self.warm_up, 0.05)
        by_steps = max((step + 1) / self.warm_up_steps, share / self.longest_warm_up)
        fallen = min(1.0, max(0.0, (share - self.warm_up) / (1.0 - self.warm_up)))
        cosine = 0.5 * (1.0 + float(np.cos(np.pi * fallen)))
        return self.peak * min(by_share, by_steps, self.floor + (1.0 - self.floor) * cosine)


class AdamW:
    """The optimizer of one list of variables; its slots can be read and set by name.

    Update t with gradient g, clipped to ``clip_norm`` over all variables together:
    m = b1 m + (1 - b1) g; v = b2 v + (1 - b2) g^2; w = w - lr * (m^ / (sqrt(v^) + eps) + decay * w)
    with m^, v^ corrected for their start at zero; then average = d average + (1 - d) w, where
    d = min(``average_decay``, (1 + t) / (10 + t)). Biases are not decayed.

    Args:
        names: one name per variable, unique.
        variables: float32 variables.
        weight_decay: the decay above.
        clip_norm: largest global norm of a gradient.
        average_decay: the highest d above.
    """

    def __init__(
        self,
        names: Sequence[str],
        variables: Sequence[tf.Variable],
        *,
        weight_decay: float,
        clip_norm: float,
        average_decay: float,
    ) -> None:
        self._names = list(names)
        self._variables = list(variables)
        self._weight_decay = weight_decay
        self._clip_norm = clip_norm
        self._average_decay = average_decay
        self._m = [tf.Variable(tf.zeros_like(v), trainable=False) for v in self._variables]
        self._v = [tf.Variable(tf.zeros_like(v), trainable=False) for v in self._variables]
        self._average = [tf.Variable(v, trainable=False) for v in self._variables]
        self._updates = [self._update_of(index) for index in range(len(self._variables))]

    def apply(
        self, gradients: Sequence[tf.Tensor], step: tf.Tensor, learning_rate: tf.Tensor
    ) -> tf.Tensor:
        """One update, inside a ``tf.function``.

        Args:
            gradients: one per variable.
            step: float32 scalar, updates made before this one.
            learning_rate: float32 scalar.

        Returns:
            The global norm of the gradients before clipping, float32 scalar.
        """
        dense = [tf.convert_to_tensor(gradient) for gradient in gradients]
        norm = tf.linalg.global_norm(dense)
        scale = tf.minimum(1.0, self._clip_norm / tf.maximum(norm, 1e-12))
        count = step + 1.0
        decay = tf.minimum(self._average_decay, count / (10.0 + step))
        for update, gradient in zip(self._updates, dense, strict=True):
            update(gradient, scale, learning_rate, count, decay)
        return norm

    def _update_of(self, index: int) -> Callable[..., None]:
        """The update of one variable and its slots, as one pass over them.

        Not of all in one: apart, they are worked on side by side.
        """
        variable, m, v = self._variables[index], self._m[index], self._v[index]
        average = self._average[index]
        weight_decay = 0.0 if self._names[index].endswith("bias") else self._weight_decay

        def update(
            gradient: tf.Tensor,
            scale: tf.Tensor,
            learning_rate: tf.Tensor,
            count: tf.Tensor,
            decay: tf.Tensor,
        ) -> None:
            clipped = gradient * scale
            m.assign(BETA_1 * m + (1.0 - BETA_1) * clipped)
            v.assign(BETA_2 * v + (1.0 - BETA_2) * clipped * clipped)
            corrected_m = m / (1.0 - tf.pow(BETA_1, count))
            corrected_v = v / (1.0 - tf.pow(BETA_2, count))
            shrunk = (1.0 - learning_rate * weight_decay) * variable
            variable.assign(shrunk - learning_rate * corrected_m / (tf.sqrt(corrected_v) + EPSILON))
            average.assign(decay * average + (1.0 - decay) * variable)

        return compiled(update)

    def averaged_weights(self) -> dict[str, FloatArray]:
        """The moving average of the weights, by name."""
        return {name: value.numpy() for name, value in zip(self._names, self._average, strict=True)}

    def slots(self) -> dict[str, FloatArray]:
        """All that must be kept to go on later: ``m/<name>``, ``v/<name>``, ``average/<name>``."""
        return {
            f"{slot}/{name}": variable.numpy()
            for slot, variables in self._groups().items()
            for name, variable in zip(self._names, variables, strict=True)
        }

    def assign_slots(self, slots: Mapping[str, FloatArray]) -> None:
        """Sets what ``slots`` returned."""
        for slot, variables in self._groups().items():
            for name, variable in zip(self._names, variables, strict=True):
                variable.assign(slots[f"{slot}/{name}"])

    def _groups(self) -> dict[str, list[tf.Variable]]:
        return {"m": self._m, "v": self._v, "average": self._average}
