"""Requests made up from the OpenAPI document, right and wrong ones: no failure, valid answers."""

import os

import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from running_service import PATIENCE_SECONDS
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi import checks

from service.openapi.operations import OPERATIONS

#: Of each operation, right and wrong ones each. More: ``SCHEMATHESIS_EXAMPLES=400 make test ...``.
NUM_EXAMPLES = int(os.environ.get("SCHEMATHESIS_EXAMPLES", "20"))
#: The library asks for nothing at the address that it has the document from.
ITSELF = "/openapi.json"
ADMIN = {"Authorization": "Bearer admin"}
CHECKS = [
    not_a_server_error,
    checks.status_code_conformance,
    checks.content_type_conformance,
    checks.response_headers_conformance,
    checks.response_schema_conformance,
]


@pytest.fixture(scope="module")
def operations(service):
    schema = schemathesis.openapi.from_url(service.url + "/openapi.json")
    found = [result.ok() for result in schema.get_all_operations()]
    return {(operation.method.lower(), operation.path): operation for operation in found}


@pytest.mark.parametrize(
    ("method", "path", "mode"),
    [(one.method, one.path, GenerationMode.POSITIVE) for one in OPERATIONS if one.path != ITSELF]
    + [(one.method, one.path, GenerationMode.NEGATIVE) for one in OPERATIONS if one.request],
)
def test_answers_are_as_the_document_says(service, operations, method, path, mode):
    operation = operations[method, path]

    @settings(
        max_examples=NUM_EXAMPLES,
        derandomize=True,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(case=operation.as_strategy(generation_mode=mode))
    def check(case):
        answer = case.call(session=service.session, headers=ADMIN, timeout=PATIENCE_SECONDS)
        case.validate_response(answer, checks=CHECKS)

    check()


def test_every_operation_is_in_the_document(operations):
    described = {(one.method, one.path) for one in OPERATIONS}
    assert operations.keys() == described - {("get", ITSELF)}
