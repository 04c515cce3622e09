"""``GET /openapi.json``, and ``GET /docs``: the same as a page, complete in itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from flask import Blueprint, Response, render_template

from service.api.json_answer import json_answer
from service.front import Front
from service.openapi.document import openapi_document

#: What bounds numbers, lengths of texts and of lists, from below and from above.
_BOUND_NAMES = (
    ("minimum", "exclusiveMinimum", "minLength", "minItems"),
    ("maximum", "maxLength", "maxItems", "maxProperties"),
)
_PAGE_HEADERS = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'",
    "X-Content-Type-Options": "nosniff",
}


def reference_blueprint(front: Front) -> Blueprint:
    """The endpoints over ``front``."""
    blueprint = Blueprint("reference", __name__, template_folder=".")

    @cache
    def document(vocab_size: int) -> dict[str, Any]:
        return openapi_document({**front.settings.limits(), "vocab_size": vocab_size})

    def document_now() -> dict[str, Any]:
        return document(max(model.tokenizer.vocab_size for model in front.models))

    @blueprint.get("/openapi.json", provide_automatic_options=False)
    def openapi() -> Response:
        return json_answer(document_now())

    @blueprint.get("/docs", provide_automatic_options=False)
    def reference() -> Response:
        described = document_now()
        page = render_template(
            "reference.html",
            info=described["info"],
            operations=list(_operations(described)),
            schemas=_shown_schemas(described),
        )
        return Response(page, mimetype="text/html", headers=_PAGE_HEADERS)

    return blueprint


def _operations(document: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """What the page shows of each operation."""
    for path, methods in document["paths"].items():
        for method, operation in methods.items():
            body = operation.get("requestBody")
            yield {
                "method": method.upper(),
                "path": path,
                "id": operation["operationId"],
                "tag": operation["tags"][0],
                "summary": operation["summary"],
                "key": [scheme for option in operation["security"] for scheme in option],
                # Headers are the same everywhere, and told of at the top.
                "parameters": [p for p in operation["parameters"] if p["in"] != "header"],
                "request": body and _type_name(body["content"]["application/json"]["schema"]),
                "answers": [
                    (media, _type_name(content["schema"]))
                    for media, content in operation["responses"]["200"]["content"].items()
                ],
            }


def _shown_schemas(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    return [
        {
            "name": name,
            "description": schema.get("description", ""),
            "fields": [
                {
                    "name": field_name,
                    "type": _type_name(field),
                    "default": field.get("default"),
                    "required": field_name in schema.get("required", ()),
                }
                for field_name, field in schema.get("properties", {}).items()
            ],
        }
        for name, schema in sorted(document["components"]["schemas"].items())
    ]


def _type_name(schema: Mapping[str, Any]) -> str:
    """A schema in a few words: ``integer 0..4096 or null``."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_type_name(option) for option in schema["anyOf"])
    if "const" in schema:
        return repr(schema["const"])
    if "enum" in schema:
        return " or ".join(map(repr, schema["enum"]))
    kind = schema.get("type", "anything")
    if kind == "array":
        items = _type_name(schema.get("items", {}))
        return "[]" if schema.get("maxItems") == 0 else f"list{_bounds(schema)} of {items}"
    return f"{kind}{_bounds(schema)}"


def _bounds(schema: Mapping[str, Any]) -> str:
    low, high = (
        next((schema[name] for name in names if name in schema), "") for names in _BOUND_NAMES
    )
    return "" if low == high == "" else f" {low}..{high}"
