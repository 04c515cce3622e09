"""The OpenAPI 3.1 document, made from the shapes that requests are checked with.

Bounds that are settings (``x-maximum-limit`` in the shapes) become the numbers in force.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import JsonSchemaMode, models_json_schema

from service.openapi.operations import OPERATIONS, Operation
from service.protocol.fields import Limits
from service.protocol.parse import Request
from service.protocol.service_answers import ErrorEnvelope
from service.version import API_VERSION, VERSION

_REFERENCE = "#/components/schemas/{model}"

#: A bound, such as ``maximum``, whose value is the name of a limit.
_LIMIT = re.compile(r"x-(\w+)-limit")

_NAME = "[A-Za-z0-9._-]"
_HEADER = {"in": "header", "schema": {"type": "string"}}
#: What every request may have, and what those with a body may.
_REQUEST_ID = {
    **_HEADER,
    "name": "X-Request-Id",
    "description": "the request's id, if it is 1 to 128 letters, digits, dots, underscores and "
    "hyphens; else it gets one",
}
_STRICT = {
    **_HEADER,
    "name": "foretoken-strict",
    "description": "true: unknown fields are refused",
}
_ANSWER_ID = {
    "description": "The request's id.",
    "required": True,
    "schema": {"type": "string", "pattern": f"^{_NAME}{{1,128}}$"},
}
_ANSWER_MODEL = {
    "description": "The model that answered, and its version.",
    "required": True,
    "schema": {"type": "string", "pattern": f"^{_NAME}+@[0-9]+$"},
}
_IGNORED = {
    "description": "The unknown fields of the request, sorted, with commas between.",
    "schema": {"type": "string"},
}

_BEARER = {"type": "http", "scheme": "bearer"}


def openapi_document(limits: Limits) -> dict[str, Any]:
    """The document of a service whose requests have these ``limits``."""
    paths: dict[str, dict[str, Any]] = {}
    for operation in OPERATIONS:
        paths.setdefault(operation.path, {})[operation.method] = _operation(operation)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Foretoken",
            "version": VERSION,
            "summary": "Text completions from small recurrent language models.",
            "description": f"Version {API_VERSION} of the API. Compatible with OpenAI's legacy "
            "completions. Unknown fields are ignored and named in the header "
            "foretoken-ignored-fields, or refused where the request has the header "
            "foretoken-strict: true; null stands for the default. Every answer has an "
            "x-request-id: the X-Request-Id of the request, if it sent a usable one.",
        },
        "paths": paths,
        "components": {
            "schemas": _schemas(limits),
            "securitySchemes": {
                "apiKey": {**_BEARER, "description": "An API key, where any is configured."},
                "adminKey": {**_BEARER, "description": "The admin key."},
            },
        },
    }


def _operation(operation: Operation) -> dict[str, Any]:
    described: dict[str, Any] = {
        "operationId": operation.id,
        "summary": operation.summary,
        "tags": [_tag(operation)],
        "responses": {
            "200": {
                "description": operation.summary,
                "headers": _answer_headers(operation),
                "content": _answer_content(operation),
            },
            "default": {
                "description": "What was wrong.",
                "headers": {"x-request-id": _ANSWER_ID},
                "content": {"application/json": {"schema": _reference(ErrorEnvelope)}},
            },
        },
        "security": _security(operation),
    }
    described["parameters"] = _parameters(operation)
    if operation.request is not None:
        described["requestBody"] = {
            "required": operation.body_required,
            "content": {"application/json": {"schema": _reference(operation.request)}},
        }
    return described


def _tag(operation: Operation) -> str:
    if operation.key == "admin":
        return "Administration"
    return "Models" if operation.key == "api" else "Service"


def _security(operation: Operation) -> list[dict[str, list[str]]]:
    """Alternatives; ``{}``: none is needed, as where no API key is configured."""
    if operation.key == "api":
        return [{"apiKey": []}, {}]
    return [{"adminKey": []}] if operation.key == "admin" else []


def _answer_headers(operation: Operation) -> dict[str, Any]:
    headers: dict[str, Any] = {"x-request-id": _ANSWER_ID}
    if operation.path.startswith("/v1/"):
        headers["foretoken-model"] = _ANSWER_MODEL
    if operation.request is not None:
        headers["foretoken-ignored-fields"] = _IGNORED
    return headers


def _answer_content(operation: Operation) -> dict[str, Any]:
    if isinstance(operation.answer, str):
        shape = {"type": "object" if operation.answer == "application/json" else "string"}
        return {operation.answer: {"schema": shape}}
    content: dict[str, Any] = {"application/json": {"schema": _reference(operation.answer)}}
    if operation.streams:
        content["text/event-stream"] = {
            # Without a type: some tools take the schema for that of the stream, some of an event.
            "schema": {
                "description": "Server-sent events, each an answer object; the last is [DONE].",
            }
        }
    return content


def _parameters(operation: Operation) -> list[dict[str, Any]]:
    parameters: list[dict[str, Any]] = [
        {"name": name, "in": "query", "description": meaning, "schema": {"type": "string"}}
        for name, meaning in operation.query
    ]
    if operation.path_parameter is not None:
        name, meaning = operation.path_parameter
        parameters.append(
            {
                "name": name,
                "in": "path",
                "required": True,
                "description": meaning,
                "schema": {"type": "string", "minLength": 1},
            }
        )
    parameters.append(_REQUEST_ID)
    if operation.request is not None:
        parameters.append(_STRICT)
    return parameters


def _reference(shape: type[BaseModel]) -> dict[str, str]:
    return {"$ref": _REFERENCE.format(model=shape.__name__)}


def _schemas(limits: Limits) -> dict[str, Any]:
    shapes: dict[type[BaseModel], None] = {ErrorEnvelope: None}
    for operation in OPERATIONS:
        if operation.request is not None:
            shapes[operation.request] = None
        if not isinstance(operation.answer, str):
            shapes[operation.answer] = None
    wanted: Sequence[tuple[type[BaseModel], JsonSchemaMode]]
    wanted = [(shape, "validation") for shape in shapes]
    _, document = models_json_schema(wanted, ref_template=_REFERENCE)
    bounds = {**limits, "last_token_id": limits["vocab_size"] - 1}
    schemas: dict[str, Any] = _resolved(document["$defs"], bounds)
    for shape in shapes:
        if issubclass(shape, Request):
            _allow_null(schemas[shape.__name__])
    return schemas


def _resolved(schema: Any, limits: Limits) -> Any:  # noqa: ANN401  JSON
    """``schema`` with numbers for limits."""
    if isinstance(schema, list):
        return [_resolved(item, limits) for item in schema]
    if not isinstance(schema, Mapping):
        return schema
    resolved = {}
    for key, value in schema.items():
        named = _LIMIT.fullmatch(key)
        if named is not None:
            resolved[named[1]] = limits[value]
        else:
            resolved[key] = _resolved(value, limits)
    return resolved


def _allow_null(schema: dict[str, Any]) -> None:
    """Null stands for the default of every field that need not be given."""
    for name, field in schema.get("properties", {}).items():
        alternatives = field.get("anyOf", [])
        if name in schema.get("required", ()) or {"type": "null"} in alternatives:
            continue
        default = {key: field.pop(key) for key in ("default", "title") if key in field}
        schema["properties"][name] = {**default, "anyOf": [field, {"type": "null"}]}
