"""The Flask application: endpoints, error envelope, the headers every answer has."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial
from typing import Any

from flask import Flask, Response, g, request
from werkzeug.exceptions import HTTPException, MethodNotAllowed, NotFound

from service.api.admin import admin_blueprint
from service.api.completions import completions_blueprint
from service.api.embeddings import embeddings_blueprint
from service.api.explain import explain_blueprint
from service.api.fill import fill_blueprint
from service.api.health import health_blueprint
from service.api.intake import discard_body
from service.api.json_answer import json_answer
from service.api.metrics import metrics_blueprint
from service.api.models import models_blueprint
from service.api.next_tokens import next_blueprint
from service.api.reference import reference_blueprint
from service.api.score import score_blueprint
from service.api.tokenizer import tokenizer_blueprint
from service.errors import ApiError
from service.front import Front
from service.front_door import guard
from service.metrics import count_refusal
from service.peer import ClientGoneError
from service.request_record import name_request

logger = logging.getLogger(__name__)


class _App(Flask):
    """Flask for ordinary functions: it would look in every request whether they are coroutines."""

    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        """``func`` itself."""
        return func


def create_app(front: Front) -> Flask:
    """The application that answers for ``front``."""
    app = _App("foretoken", static_folder=None)
    app.url_map.redirect_defaults = False
    app.url_map.merge_slashes = False
    app.url_map.strict_slashes = True
    app.before_request(_name_request)
    guard(app, front)
    app.after_request(partial(_add_headers, front))
    app.after_request(partial(_free_connection, front))
    app.register_error_handler(ApiError, _answer_api_error)
    app.register_error_handler(ClientGoneError, _answer_nobody)
    app.register_error_handler(HTTPException, _answer_http_exception)
    app.register_error_handler(Exception, _answer_bug)
    for blueprint in (
        completions_blueprint,
        next_blueprint,
        score_blueprint,
        fill_blueprint,
        explain_blueprint,
        embeddings_blueprint,
        tokenizer_blueprint,
        models_blueprint,
        health_blueprint,
        metrics_blueprint,
        reference_blueprint,
        admin_blueprint,
    ):
        app.register_blueprint(blueprint(front))
    return app


def _name_request() -> None:
    g.request_id = name_request(request.headers.get("X-Request-Id", ""))


def _add_headers(front: Front, response: Response) -> Response:
    response.headers["x-request-id"] = g.request_id
    if request.path.startswith("/v1/"):
        model = g.get("model") or front.models.default
        response.headers["foretoken-model"] = model.id_and_version
    if g.get("ignored_fields"):
        response.headers["foretoken-ignored-fields"] = g.ignored_fields
    return response


def _free_connection(front: Front, response: Response) -> Response:
    """Reads away the body of a request refused early, so that the next can follow it."""
    discard_body(front.settings.max_body_bytes)
    return response


def _answer_api_error(error: ApiError) -> Response:
    if request.path.startswith("/v1/"):
        logger.info("%s refused: %d %s", g.request_id, error.status, error.code)
    count_refusal(error)
    response = json_answer(error.body(), error.status)
    response.headers.update(error.headers)
    return response


def _answer_nobody(error: ClientGoneError) -> Response:
    return Response(status=499)


def _answer_http_exception(error: HTTPException) -> Response:
    """Werkzeug's own refusals, in our envelope."""
    if isinstance(error, MethodNotAllowed):
        allowed = ", ".join(sorted(error.valid_methods or ()))
        return _answer_api_error(
            ApiError(
                "method_not_allowed",
                f"{request.path} takes {allowed}, not {request.method}",
                headers={"Allow": allowed},
            )
        )
    if isinstance(error, NotFound):
        return _answer_api_error(ApiError("unknown_url", _describe_unknown(request.path)))
    return _answer_bug(error)


def _describe_unknown(path: str) -> str:
    if path == "/v1/chat/completions":
        return "there are no chat completions here; these models complete text: /v1/completions"
    return f"there is nothing at {path[:200]}; GET / names the endpoints"


def _answer_bug(error: Exception) -> Response:
    logger.error("%s failed", g.get("request_id", "-"), exc_info=error)
    return _answer_api_error(
        ApiError("internal_error", "something went wrong here; the request id is in the log")
    )
