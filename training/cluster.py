"""Which of several training processes this one is, as ``TF_CONFIG`` says. Loads no TensorFlow."""

from __future__ import annotations

import itertools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from model.errors import ConfigurationError


@dataclass(frozen=True)
class Cluster:
    """The place of this process among those that train one model.

    Attributes:
        num_workers: processes; 1: this one is alone.
        index: of this one, from 0, the chief, on.
        addresses: ``host:port`` of each, the chief first; none where this one is alone.
    """

    num_workers: int = 1
    index: int = 0
    addresses: tuple[str, ...] = field(default=(), compare=False)

    @property
    def is_chief(self) -> bool:
        """Whether this is the one that chooses, keeps the time, and writes."""
        return self.index == 0


def cluster_of(environ: Mapping[str, str]) -> Cluster:
    """The place that ``TF_CONFIG`` in ``environ`` gives; without it this process is alone.

    Raises:
        ConfigurationError: it cannot be read, or lists processes that are no workers.
    """
    text = environ.get("TF_CONFIG", "")
    if not text:
        return Cluster()
    try:
        config = json.loads(text)
        cluster = {name: list(addresses) for name, addresses in config["cluster"].items()}
        jobs = {name: len(addresses) for name, addresses in cluster.items()}
        task, index = config["task"]["type"], int(config["task"]["index"])
        for address in itertools.chain(*cluster.values()):
            int(address.rpartition(":")[2])
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConfigurationError(
            'TF_CONFIG must be such as {"cluster": {"worker": ["host:port", "host:port"]}, '
            f'"task": {{"type": "worker", "index": 0}}}}, not {text!r}'
        ) from error
    if not set(jobs) <= {"chief", "worker"} or not 0 <= index < jobs.get(task, 0):
        raise ConfigurationError(
            f"TF_CONFIG places this process as {task} {index} among {jobs}; it must be one of the "
            "workers listed, and all must be workers, one of which may be the chief"
        )
    before = jobs.get("chief", 0) if task == "worker" else 0
    addresses = (*cluster.get("chief", ()), *cluster.get("worker", ()))
    return Cluster(len(addresses), before + index, addresses)
