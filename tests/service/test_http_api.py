"""What holds for every endpoint: envelope, headers, routing, bodies. Over real HTTP."""

import gzip
import json
import math
import socket

import pytest
from running_service import PATIENCE_SECONDS

from service.protocol.next_tokens import NextAnswer
from service.settings import PUBLISHED_LIMITS

JSON = {"Content-Type": "application/json"}


def check_error(answer, status, code, param=None):
    assert answer.status_code == status, answer.text
    assert answer.headers["x-request-id"]
    assert answer.headers["Content-Type"] == "application/json"
    error = answer.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert (error["code"], error["param"]) == (code, param)
    assert error["type"] == ("server_error" if status >= 500 else "invalid_request_error")
    assert error["message"]
    assert "Traceback" not in error["message"]
    return error["message"]


def post_raw(service, body, headers=JSON, path="/v1/completions"):
    return service.session.post(
        service.url + path, data=body, headers=headers, timeout=PATIENCE_SECONDS
    )


def exchange(service, data):
    """Sends bytes on a connection of its own; returns all that comes back until it closes."""
    host, port = service.url.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port)), timeout=PATIENCE_SECONDS) as connection:
        connection.sendall(data)
        received = b""
        while part := connection.recv(65536):
            received += part
    return received


@pytest.mark.parametrize(
    ("body", "headers", "status", "code"),
    [
        (b"", JSON, 400, "invalid_json"),
        (b"{", JSON, 400, "invalid_json"),
        (b"[]", JSON, 400, "invalid_json"),
        (b'{"prompt":"\xff"}', JSON, 400, "invalid_json"),
        (b'{"temperature":NaN}', JSON, 400, "invalid_json"),
        (b'{"n":1' + b"0" * 40 + b"}", JSON, 400, "invalid_json"),
        (b'{"x":' + b"[" * 70 + b"]" * 70 + b"}", JSON, 400, "invalid_json"),
        (b'{"n":1,"n":2}', JSON, 400, "invalid_json"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "unsupported_media_type"),
        (b"{}", {"Content-Type": "application/jsonx"}, 415, "unsupported_media_type"),
        (
            gzip.compress(b"{}", mtime=0),
            {**JSON, "Content-Encoding": "gzip"},
            415,
            "unsupported_media_type",
        ),
        (b"{}", {**JSON, "Content-Encoding": "identity"}, 415, "unsupported_media_type"),
        (b" " * 8388609, JSON, 413, "request_too_large"),
    ],
)
def test_bad_bodies_leave_the_connection_usable(service, body, headers, status, code):
    check_error(post_raw(service, body, headers), status, code)
    assert service.get("/health").status_code == 200


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"max_tokens": "16"}, "invalid_type", "max_tokens"),
        ({"max_tokens": 4097}, "invalid_value", "max_tokens"),
        ({"tools": [1]}, "unsupported_parameter", "tools"),
        ({"prompt": [300]}, "invalid_token_id", "prompt[0]"),
        ({"logit_bias": {"300": 1}}, "invalid_token_id", "logit_bias.300"),
        ({"prompt": ["x"] * 129}, "too_many_prompts", "prompt"),
        ({"prompt": ["x"] * 128, "n": 3}, "too_many_sequences", "prompt"),
        ({"prompt": [1] * 32769}, "context_length_exceeded", "prompt"),
        ({"prompt": ["x", [1]]}, "invalid_type", "prompt[1]"),
        ({"prompt": "x " * 40000}, "context_length_exceeded", "prompt"),
        ({"prompt": ["x", "y" * 8_000_000]}, "context_length_exceeded", "prompt[1]"),
    ],
)
def test_bad_fields(service, fields, code, param):
    check_error(service.post("/v1/completions", fields), 400, code, param)
    check_error(service.post("/v1/completions", {**fields, "stream": True}), 400, code, param)


def test_a_long_prompt_is_fine_if_truncated(service):
    body = service.complete(prompt="x " * 40000, truncate_prompt_tokens=-1, max_tokens=1)
    assert body["usage"]["prompt_tokens"] == 32768


def test_the_message_of_a_long_prompt_gives_both_numbers(service):
    answer = service.post("/v1/completions", {"prompt": [1] * 32769})
    message = check_error(answer, 400, "context_length_exceeded", "prompt")
    assert "32769" in message
    assert "32768" in message


def test_unknown_models(service):
    check_error(service.post("/v1/completions", {"model": "gpt"}), 404, "model_not_found", "model")
    check_error(service.post("/v1/completions", {"model": 5}), 400, "invalid_type", "model")
    check_error(service.get("/v1/models/gpt"), 404, "model_not_found", "model")
    assert service.complete(model=None, max_tokens=1)["model"] == "bpe"
    assert service.complete(model="bpe", max_tokens=1)["model"] == "bpe"


def test_the_model_is_checked_before_other_fields(service):
    fields = {"model": "gpt", "max_tokens": "many"}
    check_error(service.post("/v1/completions", fields), 404, "model_not_found", "model")


def test_unknown_fields(service):
    answer = service.post("/v1/completions", {"max_tokens": 1, "b": 1, "a": 1})
    assert answer.headers["foretoken-ignored-fields"] == "a,b"
    strict = service.post("/v1/completions", {"b": 1, "a": 1}, headers={"foretoken-strict": "true"})
    check_error(strict, 400, "unknown_parameter", "a")
    answer = service.post("/v1/completions", {"max_tokens": 1})
    assert "foretoken-ignored-fields" not in answer.headers


@pytest.mark.parametrize("path", ["/nothing", "/v1/models/", "/v1/completions/", "/v1"])
def test_unknown_paths(service, path):
    check_error(service.get(path), 404, "unknown_url")


def test_chat_is_not_here(service):
    message = check_error(service.post("/v1/chat/completions", {}), 404, "unknown_url")
    assert "/v1/completions" in message


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("GET", "/v1/completions", "POST"),
        ("OPTIONS", "/v1/next", "POST"),
        ("POST", "/health", "GET, HEAD"),
        ("DELETE", "/v1/models", "GET, HEAD"),
    ],
)
def test_wrong_methods(service, method, path, allow):
    answer = service.session.request(method, service.url + path, timeout=PATIENCE_SECONDS)
    check_error(answer, 405, "method_not_allowed")
    assert answer.headers["Allow"] == allow


@pytest.mark.parametrize("path", ["/", "/health", "/ready", "/version", "/v1/models"])
def test_head_works_where_get_does(service, path):
    head = service.session.head(service.url + path, timeout=PATIENCE_SECONDS)
    assert head.status_code == 200
    assert head.content == b""
    assert service.get(path).status_code == 200


@pytest.mark.parametrize(
    ("given", "kept"),
    [("abc-1.2_Z", True), ("x" * 128, True), ("x" * 129, False), ("a b", False), ("", False)],
)
def test_request_ids(service, given, kept):
    answer = service.get("/health", headers={"X-Request-Id": given})
    assert (answer.headers["x-request-id"] == given) is kept
    other = service.get("/health", headers={"X-Request-Id": given})
    assert (other.headers["x-request-id"] == answer.headers["x-request-id"]) is kept


def test_every_v1_answer_names_the_model(service):
    for answer in (
        service.get("/v1/models"),
        service.get("/v1/nothing"),
        service.post("/v1/completions", {"max_tokens": 1}),
        service.post("/v1/completions", {"n": 0}),
    ):
        assert answer.headers["foretoken-model"] == "bpe@1"
    assert "foretoken-model" not in service.get("/health").headers


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "application/json; charset=utf-8"},
        {"Content-Type": "Application/JSON"},
        {"Accept": "text/html"},
    ],
)
def test_accepted_headers(service, headers):
    assert post_raw(service, b'{"max_tokens":1}', headers).status_code == 200


def test_a_body_without_content_type_is_json(service):
    answer = exchange(
        service,
        b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
        b'Content-Length: 16\r\n\r\n{"max_tokens":1}',
    )
    assert answer.startswith(b"HTTP/1.1 200 ")


def test_chunked_bodies(service):
    answer = post_raw(service, iter([b'{"max_', b'tokens":1}']))
    assert answer.status_code == 200
    too_large = post_raw(service, (b" " * 2**20 for _ in range(9)))
    check_error(too_large, 413, "request_too_large")


@pytest.mark.parametrize(
    ("data", "status", "code"),
    [
        (b"NONSENSE\r\n\r\n", 400, "invalid_value"),
        (b"GET / HTTP/1.1\r\nbad header\r\n\r\n", 400, "invalid_value"),
        (b"GET /" + b"x" * 10000 + b" HTTP/1.1\r\n\r\n", 413, "request_too_large"),
        (b"GET / HTTP/1.1\r\n" + b"a: b\r\n" * 200 + b"\r\n", 413, "request_too_large"),
        (
            b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\n"
            b"Transfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
            400,
            "invalid_json",
        ),
    ],
)
def test_what_is_not_http_gets_the_envelope_too(service, data, status, code):
    head, _, body = exchange(service, data).partition(b"\r\n\r\n")
    assert head.startswith(f"HTTP/1.1 {status} ".encode())
    assert b"x-request-id: " in head
    assert json.loads(body)["error"]["code"] == code


def test_models(service):
    listed = service.get("/v1/models").json()
    assert list(listed) == ["object", "data"]
    (model,) = listed["data"]
    assert service.get("/v1/models/bpe").json() == model
    assert model["id"] == "bpe"
    assert model["version"] == "1"
    assert model["max_model_len"] == 32768 + 4096
    assert model["tokenizer"] == {"kind": "bpe", "vocab_size": 300}
    assert list(model["limits"]) == list(PUBLISHED_LIMITS)


def test_what_a_request_says_is_not_logged(service):
    service.complete(prompt="Xylophones", user="somebody", stop="Zyzzyva", max_tokens=2)
    service.post("/v1/completions", {"prompt": "Xylophones", "user": "somebody", "n": "Zyzzyva"})
    for text in ("Xylophones", "somebody", "Zyzzyva"):
        assert text not in service.log()


def test_service_endpoints(service):
    assert service.get("/health").json() == {"status": "ok"}
    ready = service.get("/ready").json()
    assert list(ready) == ["status", "model", "version", "running", "waiting"]
    assert (ready["status"], ready["model"], ready["version"]) == ("ready", "bpe", "1")
    version = service.get("/version").json()
    assert version["api"] == "1"
    assert version["system_fingerprint"] == service.complete(max_tokens=1)["system_fingerprint"]
    page = service.get("/")
    assert page.headers["Content-Type"].startswith("text/html")
    assert "/v1/completions" in page.text


def test_next_tokens(service):
    answer = service.post("/v1/next", {"prompt": "In Italy, I had", "top_k": 300})
    assert answer.status_code == 200, answer.text
    body = answer.json()
    NextAnswer.model_validate(body)
    assert list(body) == [
        "id", "object", "created", "model", "system_fingerprint", "data", "usage",
    ]  # fmt: skip
    (data,) = body["data"]
    assert list(data) == [
        "index", "top", "coverage", "entropy", "perplexity", "prompt_logprob", "candidates",
        "state",
    ]  # fmt: skip
    probabilities = [entry["probability"] for entry in data["top"]]
    assert probabilities == sorted(probabilities, reverse=True)
    assert len(probabilities) == 300
    assert data["coverage"] == pytest.approx(1.0, abs=1e-5)
    entropy = -sum(p * math.log2(p) for p in probabilities if p > 0)
    assert data["entropy"] == pytest.approx(entropy, abs=1e-4)


def test_next_agrees_with_completions(service):
    prompt = "In Italy, I had"
    data = service.post("/v1/next", {"prompt": prompt, "top_k": 3}).json()["data"][0]
    scored = service.complete(prompt=prompt, echo=True, logprobs=3, max_tokens=1, temperature=0)
    logprobs = scored["choices"][0]["logprobs"]
    prompt_logprobs = logprobs["token_logprobs"][1:-1]
    assert data["prompt_logprob"] == pytest.approx(sum(prompt_logprobs))
    mean = sum(prompt_logprobs) / len(prompt_logprobs)
    assert data["perplexity"] == pytest.approx(2.718281828459045**-mean)
    top = {entry["text"]: entry["logprob"] for entry in data["top"]}
    assert top == logprobs["top_logprobs"][-1]


def test_next_of_several_prompts_and_temperatures(service):
    both = service.post("/v1/next", {"prompt": ["The", ""]}).json()
    assert [data["index"] for data in both["data"]] == [0, 1]
    assert both["data"][1]["perplexity"] is None
    assert both["data"][1]["prompt_logprob"] == 0.0
    cold = service.post("/v1/next", {"prompt": "The", "temperature": 0.1}).json()["data"][0]
    assert cold["top"][0]["probability"] > both["data"][0]["top"][0]["probability"]
    assert cold["entropy"] == both["data"][0]["entropy"]
    assert len(cold["top"]) == 10
    asked = {"prompt": "The", "candidates": [" and", "x"]}
    candidates = [
        service.post("/v1/next", asked | {"temperature": temperature}).json()["data"][0]
        for temperature in (0.1, 1)
    ]
    assert candidates[0]["candidates"] == candidates[1]["candidates"]


@pytest.mark.parametrize(
    ("fields", "code", "param"),
    [
        ({"top_k": 0}, "invalid_value", "top_k"),
        ({"top_k": 1001}, "invalid_value", "top_k"),
        ({"temperature": 0}, "invalid_value", "temperature"),
        ({"temperature": 2.1}, "invalid_value", "temperature"),
        ({"unit": "letter"}, "invalid_value", "unit"),
        ({"unit": 1}, "invalid_type", "unit"),
        ({"candidates": "x"}, "invalid_type", "candidates"),
    ],
)
def test_next_refuses(service, fields, code, param):
    check_error(service.post("/v1/next", fields), 400, code, param)
