"""What the HTTP workers count, in files that ``/metrics`` sums up: prometheus_client, multiprocess.

The variable ``PROMETHEUS_MULTIPROC_DIR`` must be set before this module is loaded, or numbers stay
within the process. Labels never hold text of requests: unknown paths share one endpoint.

What the engines count is not here: every worker knows it, see ``service/api/metrics.py``.
"""

from __future__ import annotations

import functools
import time

from prometheus_client import CollectorRegistry, Counter, Histogram

from service.errors import ERROR_KINDS, ApiError
from service.request_record import RequestRecord

#: The value of ``endpoint`` for paths that there are not.
UNKNOWN_ENDPOINT = "unknown"

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300)
_SHORT_SECONDS = (0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1)
_TOKENS = tuple(2**power for power in range(16))

#: Of no use in multiprocess mode but to keep the metrics apart from other users of the library.
_REGISTRY = CollectorRegistry()

_REQUESTS = Counter(
    "foretoken_requests_total",
    "HTTP requests answered, by route and status; 499: the client went away",
    ("endpoint", "status"),
    registry=_REGISTRY,
)
_CANCELLED = Counter(
    "foretoken_requests_cancelled_total",
    "Requests whose client went away before the answer was complete",
    registry=_REGISTRY,
)
_REJECTED = Counter(
    "foretoken_requests_rejected_total",
    "Requests refused for their key, their rate or the load, by error code",
    ("reason",),
    registry=_REGISTRY,
)
_PROMPT_TOKENS = Counter(
    "foretoken_prompt_tokens_total", "Tokens of prompts, each prompt once", registry=_REGISTRY
)
_GENERATION_TOKENS = Counter(
    "foretoken_generation_tokens_total", "Tokens sampled", registry=_REGISTRY
)
_RELOADS = Counter(
    "foretoken_model_reloads_total",
    "Reloads asked for: success, unchanged, failed or refused",
    ("result",),
    registry=_REGISTRY,
)
_DURATION = Histogram(
    "foretoken_request_duration_seconds",
    "From the request's arrival to the end of its answer",
    ("endpoint",),
    buckets=_SECONDS,
    registry=_REGISTRY,
)
_QUEUE_TIME = Histogram(
    "foretoken_queue_time_seconds",
    "Time requests waited for a place",
    buckets=_SECONDS,
    registry=_REGISTRY,
)
_FIRST_TOKEN = Histogram(
    "foretoken_time_to_first_token_seconds",
    "From the request's arrival to its first sampled token",
    buckets=_SECONDS,
    registry=_REGISTRY,
)
_PER_TOKEN = Histogram(
    "foretoken_time_per_output_token_seconds",
    "Mean time an engine took for each sampled token of a request",
    buckets=_SHORT_SECONDS,
    registry=_REGISTRY,
)
_REQUEST_PROMPT_TOKENS = Histogram(
    "foretoken_request_prompt_tokens",
    "Prompt tokens of each request that ran",
    buckets=_TOKENS,
    registry=_REGISTRY,
)
_REQUEST_GENERATION_TOKENS = Histogram(
    "foretoken_request_generation_tokens",
    "Tokens sampled for each request that ran",
    buckets=_TOKENS,
    registry=_REGISTRY,
)

_REFUSING_STATUSES = (401, 403, 429, 503)

# Counters that may stay at nothing for long are there from the beginning, at 0.
for _code, _kind in ERROR_KINDS.items():
    if _kind.status in _REFUSING_STATUSES:
        _REJECTED.labels(_code)
for _result in ("success", "unchanged", "failed", "refused"):
    _RELOADS.labels(_result)


# To look one of a metric up by its labels takes longer than to count it; there are some dozens.
_requests_of = functools.cache(_REQUESTS.labels)
_rejected_of = functools.cache(_REJECTED.labels)
_duration_of = functools.cache(_DURATION.labels)


def count_request(record: RequestRecord, status: int) -> None:
    """A request has ended with ``status``."""
    _requests_of(record.endpoint, status).inc()
    _duration_of(record.endpoint).observe(time.monotonic() - record.began_at)
    if record.client_gone or not record.complete:
        _CANCELLED.inc()
    if record.queue_seconds is None:
        return  # nothing of it has run
    _QUEUE_TIME.observe(record.queue_seconds)
    _PROMPT_TOKENS.inc(record.prompt_tokens)
    _GENERATION_TOKENS.inc(record.completion_tokens)
    _REQUEST_PROMPT_TOKENS.observe(record.prompt_tokens)
    _REQUEST_GENERATION_TOKENS.observe(record.completion_tokens)
    _count_token_times(record)


def _count_token_times(record: RequestRecord) -> None:
    if record.first_token_seconds is not None:
        _FIRST_TOKEN.observe(record.first_token_seconds)
    if record.decoded_tokens:
        _PER_TOKEN.observe(record.decode_seconds / record.decoded_tokens)


def count_refusal(error: ApiError) -> None:
    """A request was answered with ``error``."""
    if error.status in _REFUSING_STATUSES:
        _rejected_of(error.code).inc()


def count_reload(result: str) -> None:
    """A reload ended: ``success``, ``unchanged``, ``failed`` or ``refused``."""
    _RELOADS.labels(result).inc()
