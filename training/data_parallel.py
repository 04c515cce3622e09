"""One training by several processes: each reads its share of the streams, all make one update.

``tf.distribute.MultiWorkerMirroredStrategy`` connects the processes and sums over them. Each has
the whole network, which starts alike and is updated by the same gradient: the mean over all rows.
What depends on time or chance is decided by the chief for all, so that all make the same choices
in the same order; only then do their sums meet.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from model.errors import ConfigurationError, TrainingError
from model.state import FloatArray
from training.checkpoint import Checkpoint
from training.cluster import Cluster


class Workers:
    """A process that trains alone. ``ManyWorkers`` is one of several.

    Attributes:
        cluster: which of how many this is.
    """

    def __init__(self, cluster: Cluster | None = None) -> None:
        self.cluster = cluster or Cluster()

    def rows(self, batch_size: int) -> slice:
        """Which streams of a batch are read here.

        Raises:
            ConfigurationError: the batch cannot be shared out evenly.
        """
        number = self.cluster.num_workers
        if batch_size % number:
            raise ConfigurationError(
                f"a batch of {batch_size} streams cannot be shared by {number} workers; give a "
                f"--batch-size that {number} divides"
            )
        share = batch_size // number
        return slice(self.cluster.index * share, (self.cluster.index + 1) * share)

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """``function``, which takes keyword arguments, as a graph in which ``mean`` may be used."""
        compiled: Callable[..., Any] = tf.function(function)
        return compiled

    def mean(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """The mean over all workers of each of ``tensors``; within a graph."""
        return list(tensors)

    def all_rows(self, rows: FloatArray) -> FloatArray:
        """[batch, ...] of all workers, from [batch / workers, ...] of each."""
        return rows

    def as_chief(self, number: float) -> float:
        """The chief's ``number``."""
        return number

    def monotonic(self) -> float:
        """The chief's ``time.monotonic()``."""
        return self.as_chief(time.monotonic())

    def any(self, asked: bool) -> bool:
        """Whether it is so anywhere."""
        return asked

    def chiefs_checkpoint(self, checkpoint: Checkpoint) -> Checkpoint:
        """The chief's ``checkpoint``."""
        return checkpoint

    def chiefs_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """The chief's ``values``, which JSON can hold."""
        return dict(values)


#: Most trainings.
ALONE = Workers()


class ManyWorkers(Workers):
    """One of several processes. All must call the same methods in the same order.

    Must be made before TensorFlow's first operation; returns when all processes are there.

    Raises:
        ConfigurationError: a process has more than one graphics processor to itself.
        TrainingError: the others do not come.
    """

    def __init__(self, cluster: Cluster) -> None:
        super().__init__(cluster)
        try:
            self._strategy = tf.distribute.MultiWorkerMirroredStrategy()
        except (tf.errors.OpError, RuntimeError, ValueError) as error:
            raise TrainingError(
                f"the workers of TF_CONFIG do not come together: {error}"
            ) from error
        if self._strategy.num_replicas_in_sync != cluster.num_workers:
            raise ConfigurationError(
                "a worker sees more than one graphics processor; start one worker for each, with "
                "CUDA_VISIBLE_DEVICES"
            )
        self._summed = _told_when_lost(
            tf.function(
                lambda numbers: self._strategy.run(_sum, args=(numbers,)),
                input_signature=[tf.TensorSpec([None], tf.float64)],
            )
        )

    def compiled(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """See ``Workers``; its calls raise ``TrainingError`` when another process is lost."""
        return _told_when_lost(
            tf.function(lambda **given: self._strategy.run(function, kwargs=given))
        )

    def mean(self, tensors: Sequence[tf.Tensor]) -> list[tf.Tensor]:
        """See ``Workers``."""
        context = tf.distribute.get_replica_context()
        reduced: list[tf.Tensor] = context.all_reduce(tf.distribute.ReduceOp.MEAN, list(tensors))
        return reduced

    def all_rows(self, rows: FloatArray) -> FloatArray:
        """See ``Workers``."""
        share = len(rows)
        whole = np.zeros((share * self.cluster.num_workers, *rows.shape[1:]), rows.dtype)
        whole[self.rows(len(whole))] = rows
        all_rows: FloatArray = self._sum_of(whole)
        return all_rows

    def as_chief(self, number: float) -> float:
        """See ``Workers``."""
        return float(self._from_chief(np.array(number, np.float64)))

    def any(self, asked: bool) -> bool:
        """See ``Workers``."""
        return bool(self._sum_of(np.array(asked, np.float64)) > 0.0)

    def chiefs_checkpoint(self, checkpoint: Checkpoint) -> Checkpoint:
        """See ``Workers``."""
        shapes = {name: array.shape for name, array in checkpoint.arrays.items()}
        values = self.chiefs_values({"meta": dict(checkpoint.meta), "shapes": shapes})
        arrays = {
            name: self._from_chief(checkpoint.arrays.get(name, np.zeros(shape, np.float32)))
            for name, shape in values["shapes"].items()
        }
        return Checkpoint(arrays, values["meta"])

    def chiefs_values(self, values: Mapping[str, Any]) -> dict[str, Any]:
        """See ``Workers``."""
        content = np.frombuffer(json.dumps(values).encode(), np.uint8).astype(np.int32)
        length = int(self.as_chief(len(content)))
        given = content if self.cluster.is_chief else np.zeros(length, np.int32)
        received: dict[str, Any] = json.loads(self._from_chief(given).astype(np.uint8).tobytes())
        return received

    def _from_chief(self, array: Any) -> Any:  # noqa: ANN401 - an array of any type
        return self._sum_of(array if self.cluster.is_chief else np.zeros_like(array))

    def _sum_of(self, array: Any) -> Any:  # noqa: ANN401 - an array of any type
        """Over all workers; exact, as a float64 holds every number given here."""
        total = self._summed(tf.constant(array.ravel(), tf.float64)).numpy()
        return total.astype(array.dtype).reshape(array.shape)


def _sum(numbers: tf.Tensor) -> tf.Tensor:
    context = tf.distribute.get_replica_context()
    # An argument of a graph has no device, which the strategy asks for; a copy made here has.
    return context.all_reduce(tf.distribute.ReduceOp.SUM, tf.identity(numbers))


def _told_when_lost(graph: Callable[..., Any]) -> Callable[..., Any]:
    def call(*given: Any, **named: Any) -> Any:  # noqa: ANN401 - as ``graph``
        try:
            return graph(*given, **named)
        except tf.errors.OpError as error:
            raise TrainingError(
                "the connection to another worker is lost. Start all workers again with the same "
                "commands: training goes on from the last checkpoint"
            ) from error

    return call
