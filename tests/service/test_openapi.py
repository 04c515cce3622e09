"""The OpenAPI document covers every endpoint, and real answers and requests agree with it."""

import re
from html.parser import HTMLParser
from unittest.mock import Mock

import pytest
from jsonschema import Draft202012Validator

from service.app import create_app
from service.openapi.document import openapi_document
from service.openapi.operations import OPERATIONS
from service.settings import Settings

BY_ID = {operation.id: operation for operation in OPERATIONS}

#: A request for each operation that has a body and no side effect.
BODIES = {
    "createCompletion": {
        "prompt": ["In Italy", "x"],
        "max_tokens": 3,
        "n": 2,
        "logprobs": 2,
        "echo": True,
        "return_token_ids": True,
        "return_state": True,
        "user": None,
    },
    "predictNext": {"prompt": "In", "unit": "word", "candidates": [" Italy"], "return_state": True},
    "scoreText": {"input": ["In Italy", ""], "top_logprobs": 2, "return_state": True},
    "fillBlank": {"text": "In ____, I had", "candidates": ["Italy", "Spain"]},
    "explainPrediction": {"prompt": "In Italy, I", "target": " had"},
    "createEmbedding": {"input": ["In Italy", "x"]},
    "tokenize": {"prompt": ["In Italy", "x"], "return_token_strs": True},
    "tokenizeAtRoot": {"content": "In Italy"},
    "detokenize": {"tokens": [65, 66]},
    "detokenizeAtRoot": {"tokens": []},
}
PATHS = {"/v1/models/{name}": "/v1/models/bpe"}


@pytest.fixture(scope="module")
def document(service):
    return service.get("/openapi.json").json()


def check(document, shape, instance):
    schema = {"$ref": f"#/components/schemas/{shape}", "components": document["components"]}
    Draft202012Validator(schema).validate(instance)


def test_every_endpoint_is_described_and_nothing_else():
    served = {
        (method.lower(), re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule))
        for rule in create_app(Mock()).url_map.iter_rules()
        for method in rule.methods - {"HEAD"}
    }
    assert {(operation.method, operation.path) for operation in OPERATIONS} == served


def test_every_operation_has_what_a_client_generator_needs():
    document = openapi_document({**Settings().limits(), "vocab_size": 300})
    assert document["openapi"].startswith("3.1")
    operations = [item for methods in document["paths"].values() for item in methods.values()]
    ids = [operation["operationId"] for operation in operations]
    assert len(ids) == len(set(ids)) == len(OPERATIONS)
    for operation in operations:
        assert {"200", "default"} <= operation["responses"].keys()
        error = operation["responses"]["default"]["content"]["application/json"]["schema"]
        assert error == {"$ref": "#/components/schemas/ErrorEnvelope"}
        assert "X-Request-Id" in {parameter["name"] for parameter in operation["parameters"]}
        for answer in operation["responses"].values():
            assert answer["headers"]["x-request-id"]["required"]
    for name, schema in document["components"]["schemas"].items():
        Draft202012Validator.check_schema(schema)
        assert "-limit" not in str(schema), name


def test_bounds_are_those_in_force():
    document = openapi_document({**Settings(max_n=3).limits(), "vocab_size": 300})
    fields = document["components"]["schemas"]["CompletionRequest"]["properties"]
    assert {"type": "integer", "minimum": 1, "maximum": 3} in fields["n"]["anyOf"]
    assert {"type": "null"} in fields["max_tokens"]["anyOf"]


@pytest.mark.parametrize("operation_id", BODIES)
def test_requests_and_answers_agree(service, document, operation_id):
    operation, body = BY_ID[operation_id], BODIES[operation_id]
    check(document, operation.request.__name__, body)
    answer = service.post(operation.path, body)
    assert answer.status_code == 200, answer.text
    check(document, operation.answer.__name__, answer.json())


@pytest.mark.parametrize(
    "operation",
    [
        operation
        for operation in OPERATIONS
        if operation.method == "get" and operation.key != "admin"
    ],
    ids=lambda operation: operation.id,
)
def test_answers_without_request_agree(service, document, operation):
    answer = service.get(PATHS.get(operation.path, operation.path))
    assert answer.status_code == 200
    (media,) = document["paths"][operation.path]["get"]["responses"]["200"]["content"]
    assert answer.headers["Content-Type"].startswith(media)
    if not isinstance(operation.answer, str):
        check(document, operation.answer.__name__, answer.json())


def test_errors_agree(service, document):
    for path in ("/v1/nothing", "/v1/completions", "/admin/models"):
        check(document, "ErrorEnvelope", service.get(path).json())
    check(document, "ErrorEnvelope", service.post("/v1/completions", {"n": 0}).json())


class Links(HTMLParser):
    """What a page refers to, and what can be referred to in it."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.targets, self.ids = set(), [], set()
        self.feed(page)

    def handle_starttag(self, tag, attributes):
        self.tags.add(tag)
        for name, value in attributes:
            if name in ("href", "src"):
                self.targets.append(value)
            elif name == "id":
                self.ids.add(value)


def test_the_reference_shows_everything_and_needs_nothing_from_elsewhere(service, document):
    answer = service.get("/docs")
    assert "default-src 'none'" in answer.headers["Content-Security-Policy"]
    page = Links(answer.text)
    assert not page.tags & {"script", "link", "img", "iframe", "object"}
    assert "@import" not in answer.text
    for target in page.targets:
        assert target == "/openapi.json" or target.removeprefix("#") in page.ids
    assert {operation.id for operation in OPERATIONS} <= page.ids
    assert document["components"]["schemas"].keys() <= page.ids
    assert "1..20" in answer.text
    for header in ("foretoken-ignored-fields", "foretoken-strict", "x-request-id"):
        assert header in answer.text


def test_the_first_page_leads_to_the_reference(service):
    page = service.get("/").text
    assert 'href="/docs"' in page
    for operation in OPERATIONS:
        assert operation.path.partition("{")[0] in page
