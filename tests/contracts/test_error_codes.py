"""Every error code of the API is produced for real, by a test that this file names or holds."""

import ast
import logging
from pathlib import Path
from types import SimpleNamespace

import pytest
from running_service import running_service
from tiny_bundle import tiny_bundle

from model.bundle.load import load_bundle
from service.app import create_app
from service.errors import ERROR_KINDS
from service.front import Front
from service.served_model import ServedModel, ServedModels
from service.settings import Settings

TESTS = Path(__file__).resolve().parents[1]
CONFORMANCE, HTTP = "contracts/test_api_conformance.py", "service/test_http_api.py"
KEYS, STATES = "service/test_api_keys.py", "service/test_state_api.py"
RELOAD, WHOLE = "service/test_reload.py", "end_to_end/test_service.py"
HERE = "contracts/test_error_codes.py"

#: The test, over real HTTP, that sees each code.
SHOWN_BY = {
    "invalid_json": (CONFORMANCE, "test_what_a_body_may_be"),
    "missing_parameter": (CONFORMANCE, "test_null_and_the_default_mean_the_same_as_nothing"),
    "invalid_type": (HTTP, "test_bad_fields"),
    "invalid_value": (HTTP, "test_bad_fields"),
    "unknown_parameter": (CONFORMANCE, "test_unknown_fields_are_named_or_refused"),
    "unsupported_parameter": (CONFORMANCE, "test_what_would_change_the_meaning_is_not_ignored"),
    "invalid_token_id": (HTTP, "test_bad_fields"),
    "context_length_exceeded": (HTTP, "test_the_message_of_a_long_prompt_gives_both_numbers"),
    "too_many_prompts": (HTTP, "test_bad_fields"),
    "too_many_sequences": (HTTP, "test_bad_fields"),
    "invalid_api_key": (KEYS, "test_each_key_has_its_area"),
    "insufficient_permissions": (KEYS, "test_refusals_over_http"),
    "admin_disabled": (HERE, "test_administration_without_a_key"),
    "model_not_found": (CONFORMANCE, "test_unknown_models"),
    "unknown_url": (CONFORMANCE, "test_unknown_paths"),
    "method_not_allowed": (CONFORMANCE, "test_wrong_methods_and_trailing_slashes"),
    "stale_state": (RELOAD, "test_the_new_version_answers_and_old_requests_finish_on_the_old"),
    "reload_in_progress": (RELOAD, "test_one_reload_at_a_time"),
    "request_too_large": (HTTP, "test_chunked_bodies"),
    "unsupported_media_type": (CONFORMANCE, "test_media_types"),
    "invalid_state": (CONFORMANCE, "test_values_that_are_refused"),
    "state_expired": (STATES, "test_what_is_wrong_with_a_state_is_told"),
    "state_model_mismatch": (STATES, "test_what_is_wrong_with_a_state_is_told"),
    "model_load_failed": (RELOAD, "test_a_damaged_version"),
    "rate_limit_exceeded": (HERE, "test_too_many_requests"),
    "internal_error": (HERE, "test_a_bug_is_answered_and_logged_under_the_request_id"),
    "overloaded": (WHOLE, "test_a_full_queue_refuses_at_once_and_health_answers"),
    "queue_timeout": (WHOLE, "test_who_waits_too_long_is_refused"),
    "model_loading": (HERE, "test_a_model_without_an_engine_yet"),
    "engine_unavailable": (WHOLE, "test_a_killed_engine_fails_its_requests_and_comes_back"),
    "shutting_down": (WHOLE, "test_shutting_down_lets_running_work_finish"),
    "request_timeout": (WHOLE, "test_requests_that_take_too_long"),
}


def test_every_code_has_a_test():
    assert SHOWN_BY.keys() == ERROR_KINDS.keys()


@pytest.mark.parametrize("code", SHOWN_BY)
def test_the_test_of_a_code_is_there_and_names_it(code):
    path, name = SHOWN_BY[code]
    source = (TESTS / path).read_text()
    functions = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef)]
    (function,) = (node for node in functions if node.name == name)
    parts = [function, *function.decorator_list]
    assert any(f'"{code}"' in (ast.get_source_segment(source, part) or "") for part in parts)


def check(answer, status, code):
    """An answer of ``requests`` or of Flask's own client."""
    body = answer.json if isinstance(answer.json, dict) else answer.json()
    error = body["error"]
    assert (answer.status_code, error["code"]) == (status, code), error
    assert list(error) == ["message", "type", "param", "code"]
    assert error["type"] == ERROR_KINDS[code].type
    assert "Traceback" not in error["message"]
    return error


def test_too_many_requests():
    with running_service(tiny_bundle(), "--requests-per-minute", "2") as service:
        body = {"prompt": "One", "max_tokens": 1}
        answers = [service.post("/v1/completions", body) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, 429]
        check(answers[2], 429, "rate_limit_exceeded")
        seconds = int(answers[2].headers["Retry-After"])
        assert 1 <= seconds <= 60
        assert 0 < int(answers[2].headers["retry-after-ms"]) <= 1000 * seconds
        remaining = [answer.headers["x-ratelimit-remaining-requests"] for answer in answers]
        assert remaining == ["1", "0", "0"]
        for answer in answers:
            assert answer.headers["x-ratelimit-limit-requests"] == "2"
            assert answer.headers["x-ratelimit-reset-requests"]
        for path in ("/tokenize", "/v1/tokenize"):
            assert service.post(path, {"prompt": "a"}).status_code == 200


class NoModels:
    """A table of models in which nothing can be found, for reasons of its own."""

    default = SimpleNamespace(id="bpe", version="1")

    def borrow(self, name):
        raise RuntimeError("a secret path: /etc/passwd")


def front_of(models, folder):
    return Front(
        Settings(),
        models,
        draining=lambda: False,
        follow_reloads=lambda: None,
        runtime_directory=folder,
    )


def test_administration_without_a_key(tmp_path):
    client = create_app(front_of(NoModels(), tmp_path)).test_client()
    check(client.get("/admin/models"), 403, "admin_disabled")
    check(client.post("/admin/reload"), 403, "admin_disabled")


def test_a_model_without_an_engine_yet(tmp_path):
    bundle = load_bundle(tiny_bundle() / "1")
    model = ServedModel(bundle, [f"ipc://{tmp_path}/nobody"], Settings())
    try:
        client = create_app(front_of(ServedModels([model]), tmp_path)).test_client()
        for answer in (
            client.get("/ready"),
            client.post("/v1/completions", json={"prompt": "One"}),
            client.post("/v1/fill", json={"text": "a ____ b"}),
        ):
            check(answer, 503, "model_loading")
            assert 1 <= int(answer.headers["Retry-After"]) <= 120
        assert client.get("/health").status_code == 200
    finally:
        model.engines.close()


def test_a_bug_is_answered_and_logged_under_the_request_id(tmp_path, caplog):
    client = create_app(front_of(NoModels(), tmp_path)).test_client()
    with caplog.at_level(logging.ERROR):
        answer = client.post("/v1/completions", json={}, headers={"X-Request-Id": "my-id"})
    error = check(answer, 500, "internal_error")
    assert "secret" not in error["message"]
    assert answer.headers["x-request-id"] == "my-id"
    assert any("my-id" in record.getMessage() and record.exc_info for record in caplog.records)
