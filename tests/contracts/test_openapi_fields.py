"""The OpenAPI document says of every field what the service does: default, bounds, types, null."""

import pytest
from field_tables import (
    ENDPOINTS,
    INVALID_TYPE,
    INVALID_VALUE,
    ROWS,
    VOCAB_SIZE,
    Missing,
)
from jsonschema import Draft202012Validator

from service.openapi.document import openapi_document
from service.openapi.operations import OPERATIONS
from service.settings import Settings

DOCUMENT = openapi_document({**Settings().limits(), "vocab_size": VOCAB_SIZE})
SCHEMAS = DOCUMENT["components"]["schemas"]
SHAPES = {one.path: one.request.__name__ for one in OPERATIONS if one.request is not None}

#: Left out these mean what the table's default means, which hangs on model or request.
DEFAULT_IS_ABSENCE = {"model", "best_of", "suffix", "truncate_prompt_tokens", "dimensions", "blank"}
#: What they refuse beside wrong types hangs on the model, on other fields or on a text's content.
BEYOND_A_SCHEMA = {"model", "state", "text", "dimensions", "min_tokens", "context"}


def errors(path, body):
    schema = {"$ref": f"#/components/schemas/{SHAPES[path]}", "components": DOCUMENT["components"]}
    return [error.message for error in Draft202012Validator(schema).iter_errors(body)]


def told_by_the_schema(row, code):
    if row.name == "logit_bias":
        return code in (INVALID_TYPE, INVALID_VALUE)
    beyond = row.name in BEYOND_A_SCHEMA or code == "context_length_exceeded"
    return code == INVALID_TYPE or not beyond


@pytest.mark.parametrize("path", ENDPOINTS)
def test_every_field_is_described_and_no_other(path):
    names = [row.name for row in ENDPOINTS[path][0]]
    others = {"/v1/fill": ["prefix", "suffix"], "/v1/tokenize": ["content"]}.get(path, [])
    assert sorted(SCHEMAS[SHAPES[path]]["properties"]) == sorted(names + others)


@pytest.mark.parametrize(("path", "row"), ROWS, ids=lambda value: getattr(value, "name", value))
def test_the_document_says_what_the_service_does(path, row):
    fine = ENDPOINTS[path][1]
    for value in row.good:
        assert errors(path, fine | row.along | {row.name: value}) == [], value
    for value, code, *_ in row.bad:
        if told_by_the_schema(row, code):
            assert errors(path, fine | {row.name: value}), value
    schema = SCHEMAS[SHAPES[path]]
    if row.required and row.name in schema.get("required", ()):
        assert errors(path, fine | {row.name: None})
        return
    assert errors(path, fine | {row.name: None}) == []
    if row.default is not Missing and row.name not in DEFAULT_IS_ABSENCE:
        assert schema["properties"][row.name]["default"] == row.default
