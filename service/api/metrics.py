"""``GET /metrics``: what all workers counted, and how the engines are doing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from service.engine.request import EngineStatus
from service.front import Front
from service.metrics_directory import counting_directory
from service.served_model import ServedModel


def metrics_blueprint(front: Front) -> Blueprint:
    """The endpoint over ``front``; it waits for nothing."""
    blueprint = Blueprint("metrics", __name__)

    @blueprint.get("/metrics", provide_automatic_options=False)
    def metrics() -> Response:
        registry = CollectorRegistry()
        directory = counting_directory()
        if directory is not None:
            registry.register(WorkersCollector(Path(directory)))
        registry.register(EngineCollector(front.models))
        return Response(generate_latest(registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)

    return blueprint


class WorkersCollector(Collector):
    """What all workers counted, each in files below ``directory``."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        """The sums. A file that a worker makes at this moment is still empty, and left out."""
        files = [str(file) for file in self._directory.glob("*.db") if file.stat().st_size]
        counted: Iterable[Metric] = MultiProcessCollector.merge(files)  # type: ignore[no-untyped-call]
        return counted


class EngineCollector(Collector):
    """What the engines of ``models`` said last; the same whichever worker is asked."""

    def __init__(self, models: Iterable[ServedModel]) -> None:
        self._models = list(models)

    def collect(self) -> Iterator[Metric]:
        """The gauges, what the engines count, and the histogram of batch sizes."""
        statuses = [status for model in self._models for status in model.engines.status()]
        yield GaugeMetricFamily(
            "foretoken_requests_running",
            "Sequences that run",
            sum(status.running for status in statuses),
        )
        yield GaugeMetricFamily(
            "foretoken_requests_waiting",
            "Sequences that wait for a place",
            sum(status.waiting for status in statuses),
        )
        info = GaugeMetricFamily(
            "foretoken_model_info", "Models served", labels=("model", "version")
        )
        for model in self._models:
            info.add_metric((model.id, model.version), 1)
        yield info
        yield CounterMetricFamily(
            "foretoken_state_cache_lookups",
            "Sequences begun, each of which looks for a state to begin from",
            sum(status.cache_lookups_total for status in statuses),
        )
        yield CounterMetricFamily(
            "foretoken_state_cache_hits",
            "Sequences for which the state after a beginning of the prompt was kept",
            sum(status.cache_hits_total for status in statuses),
        )
        yield CounterMetricFamily(
            "foretoken_cached_prompt_tokens",
            "Tokens of prompts that were not read again",
            sum(status.cached_tokens_total for status in statuses),
        )
        yield _batch_sizes(statuses)


def _batch_sizes(statuses: Sequence[EngineStatus]) -> HistogramMetricFamily:
    """Steps by rows; engines count from their start, so the histogram may begin again."""
    counts = [
        sum(sizes) for sizes in zip(*(status.batch_sizes for status in statuses), strict=True)
    ]
    cumulated = [sum(counts[: power + 1]) for power in range(len(counts))]
    buckets = [(str(float(2**power)), float(count)) for power, count in enumerate(cumulated)]
    family = HistogramMetricFamily("foretoken_batch_size", "Rows of each step of an engine")
    family.add_metric(
        (),
        [*buckets, ("+Inf", float(sum(counts)))],
        float(sum(status.batch_rows_total for status in statuses)),
    )
    return family
