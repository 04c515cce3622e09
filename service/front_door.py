"""What every HTTP request passes: its record, its key, its rate, and at its end the counting.

In the contract's order: the route and the method are known to be right, authentication, rate limit;
all else is the endpoint's.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.routing import Rule

from service.front import Front
from service.metrics import UNKNOWN_ENDPOINT, count_request
from service.rate_limits import client_name
from service.request_record import RequestRecord, begin_record

#: Evaluation clients call these once for every string, and give up after three refusals.
_WITHOUT_RATE = ("/v1/tokenize", "/v1/detokenize", "/v1/tokenizer_info")


def guard(app: Flask, front: Front) -> None:
    """Has every request to ``app`` pass the front door; to be called before endpoints are added."""

    def enter() -> None:
        g.record = begin_record(_endpoint(request.url_rule))
        front.follow_reloads()
        g.client = client_name(None, request.remote_addr)
        if request.url_rule is None:
            return  # the refusal of path or method comes next
        g.api_key = front.api_keys.check(request.path, request.headers.get("Authorization"))
        g.client = client_name(g.api_key, request.remote_addr)
        if front.rate_limits.active and _has_rate(request.path):
            front.rate_limits.admit(g.client)

    def leave(response: Response) -> Response:
        record: RequestRecord = g.record
        if front.rate_limits.active:
            _limit(front, record, response)
        if response.is_streamed:
            record.complete = False
            response.response = _watched(response.response, record)
        status = response.status_code
        record.at_end(lambda: count_request(record, status))
        response.call_on_close(record.end)
        return response

    app.before_request(enter)
    app.after_request(leave)


def _endpoint(rule: Rule | None) -> str:
    if rule is None:
        return UNKNOWN_ENDPOINT
    return rule.rule.replace("<", "{").replace(">", "}")


def _has_rate(path: str) -> bool:
    return path.startswith("/v1/") and path not in _WITHOUT_RATE


def _limit(front: Front, record: RequestRecord, response: Response) -> None:
    """Counts the answer's tokens, and says what is left where that is known already."""
    client: str = g.client
    limits = front.rate_limits
    if not _has_rate(request.path):
        pass
    elif response.is_streamed:
        record.at_end(lambda: limits.charge(client, _num_tokens(record)))
    else:
        limits.charge(client, _num_tokens(record))
    if request.path.startswith("/v1/"):
        response.headers.update(limits.headers(client))


def _num_tokens(record: RequestRecord) -> int:
    return record.prompt_tokens + record.completion_tokens


def _watched(parts: Iterable[Any], record: RequestRecord) -> Iterator[Any]:
    """``parts``; the answer counts as complete once they are all taken."""
    yield from parts
    record.complete = True
