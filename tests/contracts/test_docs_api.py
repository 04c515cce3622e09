"""Every example of the documentation, sent to a service with the shipped bundle, answers as shown.

Texts, ids, tokens and counts must be the same, and numbers but for rounding. A processor that
rounds otherwise than the one that wrote the answers may choose other tokens; where the bundle's
self-check shows that, the shape of every answer is compared and not its values.

``make examples`` writes the answers anew, from the bundle shipped.
"""

import re

import pytest
from docs_examples import PAGES, ROOT, differences, examples, layout, shown
from running_service import running_service

from model.bundle.load import load_bundle
from model.bundle.self_check import run_self_check
from model.runtime.litert_runtime import LiteRTRuntime
from service.openapi.operations import OPERATIONS

SHIPPED = ROOT / "bundles/travel"
EXAMPLES = [example for page in PAGES for example in examples(page)]

#: Answers that are pages or change with every request, and those that need a key.
WITHOUT_EXAMPLE = {"/", "/docs", "/openapi.json", "/metrics", "/admin/models", "/admin/reload"}


@pytest.fixture(scope="module")
def service():
    with running_service(SHIPPED) as service:
        yield service


@pytest.fixture(scope="module")
def computes_alike():
    """Whether this processor computes to the last digits what wrote the bundle computed."""
    bundle = load_bundle(SHIPPED)
    runtime = LiteRTRuntime(bundle.network_path, bundle.config)
    return run_self_check(runtime, bundle.manifest.self_check) < 1e-4


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.name)
def test_examples_answer_as_shown(example, service, computes_alike):
    real = example.run(service.url)
    if example.answer is not None:
        found = list(differences(example.answer, real, values=computes_alike))
        assert not found, "\n".join([*found, "", "`make examples` writes the answers anew"])


def test_every_endpoint_has_an_example():
    paths = {example.request[1] for example in EXAMPLES if example.language == "sh"}
    for operation in OPERATIONS:
        path = re.sub(r"\{\w+\}", "travel", operation.path)
        assert {path, f"/v1{path}"} & (paths | WITHOUT_EXAMPLE), f"{operation.path} has no example"


def test_every_request_shows_its_answer():
    assert [e.name for e in EXAMPLES if e.language == "sh" and e.answer is None] == []


def test_differences_are_found():
    answer = {"id": "a", "object": "x", "data": [1.23456, {"text": "t", "n": 1}], "state": "fts1.x"}
    written = layout(shown(answer))
    assert not list(differences(written, layout({**shown(answer), "id": "b"})))
    for key, value in [("object", "y"), ("data", [1.24, {"text": "t", "n": 1}]), ("id", 5)]:
        assert list(differences(written, layout({**answer, key: value})))
    assert list(differences(written, layout({**shown(answer), "data": []})))
    assert list(differences(written, layout({**shown(answer), "more": 1}), values=False))
    assert not list(differences(written, layout({**shown(answer), "object": "y"}), values=False))
