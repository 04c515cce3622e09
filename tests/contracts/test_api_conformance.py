"""Every row of the contract's field tables, and its rules for bodies and headers, over real HTTP.

That null and the default given outright mean the same as nothing given is seen from the answers,
which are equal.
"""

import json
import re

import pytest
from field_tables import ENDPOINTS, INVALID_VALUE, ROWS, Missing, Row
from running_service import PATIENCE_SECONDS


def case_id(value):
    if isinstance(value, Row):
        return value.name
    if isinstance(value, str) and value.startswith("/"):
        return value.rpartition("/")[2]
    return re.sub(r"[^ -~]|\[", "?", json.dumps(value))[:24]


def send(service, path, body, **headers):
    return service.session.post(
        service.url + path,
        data=json.dumps(body),
        headers={"Content-Type": "application/json", **headers},
        timeout=PATIENCE_SECONDS,
    )


def said(answer):
    """A 200 answer without what differs from request to request."""
    assert answer.status_code == 200, answer.text
    body = answer.json()
    body.get("usage", {}).pop("prompt_tokens_details", None)
    return {key: value for key, value in body.items() if key not in ("id", "created")}


def check_error(answer, status, code, param):
    assert answer.status_code == status, answer.text
    assert answer.headers["Content-Type"] == "application/json"
    assert answer.text.isascii()
    error = answer.json()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert (error["code"], error["param"]) == (code, param), error
    assert error["type"] == "invalid_request_error"
    assert len(error["message"]) < 500
    assert answer.headers["x-request-id"]
    return error["message"]


@pytest.mark.parametrize(("path", "row"), ROWS, ids=case_id)
def test_null_and_the_default_mean_the_same_as_nothing(service, path, row):
    body = dict(ENDPOINTS[path][1])
    if row.name == "seed":
        body |= {"temperature": 0}  # so that nothing but the seed differs
    body.pop(row.name, None)
    if row.required:
        for given in ({}, {row.name: None}):
            check_error(send(service, path, body | given), 400, "missing_parameter", row.name)
        return
    left_out = send(service, path, body)
    null = send(service, path, body | {row.name: None})
    if row.name == "seed":
        assert said(left_out).pop("seed") != said(null).pop("seed")
        return
    if path == "/v1/completions":
        assert left_out.json()["seed"] == 7
    assert said(null) == said(left_out)
    if row.default is not Missing:
        assert said(send(service, path, body | {row.name: row.default})) == said(left_out)


@pytest.mark.parametrize(
    ("path", "row", "value"),
    [(path, row, value) for path, row in ROWS for value in row.good],
    ids=case_id,
)
def test_values_that_are_taken(service, path, row, value):
    body = ENDPOINTS[path][1] | row.along | {row.name: value}
    answer = send(service, path, body, **{"foretoken-strict": "true"})
    assert answer.status_code == 200, answer.text
    if not body.get("stream"):
        assert answer.text.isascii()
        check_numbers(answer.json())
    assert "foretoken-ignored-fields" not in answer.headers
    assert re.fullmatch(r"bpe@\S+", answer.headers["foretoken-model"])


def check_numbers(value, name=""):
    """Logprobs are finite, written with a fraction; nothing is NaN."""
    if isinstance(value, dict):
        for key, item in value.items():
            check_numbers(item, name if name == "top_logprobs" else key)
    elif isinstance(value, list):
        for item in value:
            check_numbers(item, name)
    elif "logprob" in name and value is not None and name != "logprobs":
        assert type(value) is float, (name, value)
        assert -1e7 < value <= 1e-6, (name, value)
    elif isinstance(value, float):
        assert value == value and abs(value) != float("inf")


@pytest.mark.parametrize(
    ("path", "row", "refused"),
    [(path, row, refused) for path, row in ROWS for refused in row.bad],
    ids=case_id,
)
def test_values_that_are_refused(service, path, row, refused):
    value, code, *param = refused
    status = {"404": 404, "invalid_state": 422}.get(code, 400)
    code = {"404": "model_not_found"}.get(code, code)
    along = {"stream": True} if row.name == "stream_options" else {}
    answer = send(service, path, ENDPOINTS[path][1] | along | {row.name: value})
    message = check_error(answer, status, code, param[0] if param else row.name)
    assert row.name in message


#: Fields that are right each, but not together: the body, the code, the field to blame.
DISAGREEING = [
    ("/v1/completions", {"n": 2, "best_of": 1}, INVALID_VALUE, "best_of"),
    ("/v1/completions", {"best_of": 2, "stream": True}, INVALID_VALUE, "best_of"),
    ("/v1/completions", {"stream_options": {}}, INVALID_VALUE, "stream_options"),
    (
        "/v1/completions",
        {"stream": False, "stream_options": {"include_usage": True}},
        INVALID_VALUE,
        "stream_options",
    ),
    ("/v1/completions", {"min_tokens": 4, "max_tokens": 3}, INVALID_VALUE, "min_tokens"),
    ("/v1/completions", {"min_tokens": 17}, INVALID_VALUE, "min_tokens"),
    ("/v1/completions", {"prompt": ["a"] * 13, "n": 20}, "too_many_sequences", "prompt"),
    ("/v1/completions", {"prompt": ["a"] * 13, "best_of": 20}, "too_many_sequences", "prompt"),
    ("/v1/completions", {"prompt": "a" * 300_000}, "context_length_exceeded", "prompt"),
    (
        "/v1/completions",
        {"state": "fts1.AAAA.AAAA", "add_special_tokens": True},
        INVALID_VALUE,
        "add_special_tokens",
    ),
    ("/v1/score", {"input": ["a", "b"], "context": ["a"]}, INVALID_VALUE, "context"),
    (
        "/v1/score",
        {"input": ["a", "b"], "context": [5] * 32769},
        "context_length_exceeded",
        "context",
    ),
    (
        "/v1/score",
        {"input": ["a", "b"], "context": [[5], [5] * 32769]},
        "context_length_exceeded",
        "context[1]",
    ),
    ("/v1/fill", {"text": "____", "prefix": "a"}, INVALID_VALUE, "prefix"),
    ("/v1/fill", {"text": "____", "suffix": "a"}, INVALID_VALUE, "suffix"),
    ("/v1/fill", {"text": "____", "blank": "*"}, INVALID_VALUE, "text"),
    ("/v1/fill", {"text": "* and *", "blank": "*"}, INVALID_VALUE, "text"),
    ("/v1/tokenize", {"prompt": "a", "content": "a"}, INVALID_VALUE, "content"),
]


@pytest.mark.parametrize(("path", "body", "code", "param"), DISAGREEING, ids=case_id)
def test_fields_that_disagree(service, path, body, code, param):
    check_error(send(service, path, body), 400, code, param)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": ["a"] * 128, "n": 2, "max_tokens": 0}),
        ("/v1/completions", {"prompt": [5] * 32768, "max_tokens": 0}),
        ("/v1/completions", {"prompt": "a" * 40_000, "truncate_prompt_tokens": 2, "max_tokens": 0}),
        ("/v1/fill", {"prefix": "a ", "candidates": ["b"]}),
        ("/v1/fill", {"suffix": " b", "candidates": ["b"]}),
        ("/v1/fill", {"prefix": "a", "suffix": "", "candidates": ["b"]}),
        ("/v1/score", {"input": ["a", "b"], "context": ["c", "d"]}),
        ("/v1/score", {"input": ["a", "b"], "context": "c"}),
        ("/v1/tokenize", {"content": ["a", "b"]}),
        ("/tokenize", {"content": "a"}),
        ("/detokenize", {"tokens": [5]}),
    ],
    ids=case_id,
)
def test_fields_that_agree(service, path, body):
    assert send(service, path, body).status_code == 200


def test_the_least_temperature_leaves_one_token(service):
    body = {"prompt": "One", "top_k": 2, "temperature": 5e-324}
    first, second = said(send(service, "/v1/next", body))["data"][0]["top"]
    assert (first["probability"], second["probability"]) == (1.0, 0.0)


def test_the_default_seed_is_random_and_told(service):
    body = {"prompt": "One", "max_tokens": 8}
    first = said(send(service, "/v1/completions", body))
    assert said(send(service, "/v1/completions", body | {"seed": first["seed"]})) == first


#: Where in an answer to what request which keys stand in which order.
INNER_KEYS = [
    (
        "/v1/completions",
        {"logprobs": 1, "return_state": True, "return_token_ids": True},
        ["choices", 0],
        "index text logprobs finish_reason stop_reason prompt_token_ids token_ids "
        "state state_tokens state_offset",
    ),
    (
        "/v1/completions",
        {"logprobs": 1},
        ["choices", 0, "logprobs"],
        "tokens token_logprobs top_logprobs text_offset",
    ),
    (
        "/v1/completions",
        {},
        ["usage"],
        "prompt_tokens completion_tokens total_tokens prompt_tokens_details",
    ),
    (
        "/v1/next",
        {"return_state": True},
        ["data", 0],
        "index top coverage entropy perplexity prompt_logprob candidates "
        "state state_tokens state_offset",
    ),
    ("/v1/next", {}, ["data", 0, "top", 0], "text token_id token_ids probability logprob"),
    (
        "/v1/next",
        {"candidates": ["a"]},
        ["data", 0, "candidates", 0],
        "index text token_ids logprob probability share rank",
    ),
    (
        "/v1/score",
        {},
        ["data", 0],
        "index total_logprob mean_logprob scored_tokens perplexity bits_per_token characters bytes "
        "bits_per_character bits_per_byte is_greedy logprobs state",
    ),
    (
        "/v1/score",
        {},
        ["data", 0, "logprobs"],
        "tokens token_ids token_logprobs top_logprobs text_offset ranks",
    ),
    (
        "/v1/fill",
        {},
        ["data", 0],
        "rank text token_ids probability prior prior_rank logprob_left logprob_right logprob",
    ),
    ("/v1/explain", {}, ["target"], "text token_ids logprob probability"),
    (
        "/v1/explain",
        {},
        ["contributions", 0],
        "index text start end logprob_without delta share",
    ),
    ("/v1/embeddings", {}, ["data", 0], "object index embedding"),
    ("/v1/embeddings", {}, ["usage"], "prompt_tokens total_tokens"),
]


@pytest.mark.parametrize(("path", "fields", "place", "keys"), INNER_KEYS, ids=case_id)
def test_inner_keys_come_in_the_order_of_the_contract(service, path, fields, place, keys):
    found = send(service, path, ENDPOINTS[path][1] | fields).json()
    for step in place:
        found = found[step]
    assert list(found) == keys.split()


def test_keys_come_in_the_order_of_the_contract(service):
    head = ["id", "object", "created", "model", "system_fingerprint"]
    orders = {
        "/v1/completions": [*head, "seed", "choices", "usage"],
        "/v1/next": [*head, "data", "usage"],
        "/v1/score": [*head, "data", "usage"],
        "/v1/fill": [*head, "filled", "pool_size", "prior_coverage", "data", "usage"],
        "/v1/explain": [*head, "target", "unit", "method", "contributions", "ranking", "usage"],
        "/v1/embeddings": ["object", "data", "model", "usage"],
        "/v1/tokenize": ["tokens", "count", "max_model_len", "token_strs"],
        "/v1/detokenize": ["prompt", "content"],
    }
    for path, order in orders.items():
        assert list(send(service, path, ENDPOINTS[path][1]).json()) == order, path
    model = (
        "id object created owned_by version max_model_len tokenizer embedding_dimensions "
        "state_bytes limits"
    )
    listed = service.get("/v1/models").json()
    assert list(listed) == ["object", "data"]
    assert list(listed["data"][0]) == model.split()
    version = "version api model model_version system_fingerprint"
    assert list(service.get("/version").json()) == version.split()


# Section 1: what a body may be.

UNSUPPORTED = {
    "messages": [{"role": "user", "content": "a"}],
    "prompt_embeds": "AAAA",
    "prompt_logprobs": 1,
    "use_beam_search": True,
    "response_format": {"type": "json_object"},
    "structured_outputs": {"regex": "a"},
    "guided_json": {"a": 1},
    "guided_whatever": "a",
    "grammar": "root",
    "json_schema": {"a": 1},
    "tools": [1],
    "functions": [1],
    "lora": "a",
    "watermark": True,
}


@pytest.mark.parametrize("path", ENDPOINTS, ids=case_id)
@pytest.mark.parametrize("name", UNSUPPORTED)
def test_what_would_change_the_meaning_is_not_ignored(service, path, name):
    fine = ENDPOINTS[path][1]
    answer = send(service, path, fine | {name: UNSUPPORTED[name]})
    check_error(answer, 400, "unsupported_parameter", name)
    check_error(send(service, path, fine | {name: 0}), 400, "unsupported_parameter", name)


@pytest.mark.parametrize("harmless", [None, False, [], {}], ids=case_id)
def test_what_is_not_supported_may_be_switched_off(service, harmless):
    body = ENDPOINTS["/v1/completions"][1] | dict.fromkeys(UNSUPPORTED, harmless)
    assert send(service, "/v1/completions", body).status_code == 200


def test_the_plain_response_format_is_fine(service):
    body = ENDPOINTS["/v1/completions"][1] | {"response_format": {"type": "text"}}
    assert send(service, "/v1/completions", body).status_code == 200


@pytest.mark.parametrize("path", ENDPOINTS, ids=case_id)
def test_unknown_fields_are_named_or_refused(service, path):
    body = ENDPOINTS[path][1] | {"zeta": 1, "alpha": {"x": 1}, "sp ace": 1, "\ud800": 2}
    answer = send(service, path, body)
    assert answer.status_code == 200
    assert answer.headers["foretoken-ignored-fields"] == "alpha,zeta"
    strictly = send(service, path, ENDPOINTS[path][1] | {"zeta": 1}, **{"foretoken-strict": "true"})
    check_error(strictly, 400, "unknown_parameter", "zeta")


def test_a_reload_names_ignored_fields_too(service):
    answer = send(service, "/admin/reload", {"x": 1}, Authorization="Bearer admin")
    assert (answer.status_code, answer.json()["changed"]) == (200, False)
    assert answer.headers["foretoken-ignored-fields"] == "x"


def test_at_most_ten_ignored_fields_are_named(service):
    body = {"tokens": [5]} | {f"f{index:02}": 1 for index in range(15)}
    named = send(service, "/v1/detokenize", body).headers["foretoken-ignored-fields"]
    assert named == ",".join(f"f{index:02}" for index in range(10))


DEEP = b'{"x":' + b"[" * 63 + b"]" * 63 + b',"tokens":[5]}'
BODIES = {
    "empty": (b"", False),
    "white": (b" \n", False),
    "cut": (b'{"tokens":[5]', False),
    "trailing": (b'{"tokens":[5]} x', False),
    "comma": (b'{"tokens":[5],}', False),
    "single quotes": (b"{'tokens':[5]}", False),
    "comment": (b'{"tokens":[5]/**/}', False),
    "array": (b"[]", False),
    "string": (b'"a"', False),
    "number": (b"1", False),
    "null": (b"null", False),
    "not UTF-8": (b'{"x":"\xff","tokens":[5]}', False),
    "overlong UTF-8": (b'{"x":"\xc0\x80","tokens":[5]}', False),
    "surrogate in UTF-8": (b'{"x":"\xed\xa0\x80","tokens":[5]}', False),
    "UTF-16": ('{"tokens":[5]}'.encode("utf-16"), False),
    "NaN": (b'{"x":NaN,"tokens":[5]}', False),
    "Infinity": (b'{"x":Infinity,"tokens":[5]}', False),
    "-Infinity": (b'{"x":-Infinity,"tokens":[5]}', False),
    "64 levels": (DEEP, True),
    "65 levels": (DEEP.replace(b"[]", b"[[]]"), False),
    "many levels": (b'{"x":' + b"[" * 100_000, False),
    "32 digits": (b'{"x":' + b"9" * 32 + b',"tokens":[5]}', True),
    "33 digits": (b'{"x":' + b"9" * 33 + b',"tokens":[5]}', False),
    "-33 digits": (b'{"x":-' + b"9" * 33 + b',"tokens":[5]}', False),
    "control character": (b'{"x":"\x01","tokens":[5]}', False),
    "escaped NUL": (b'{"x":"\\u0000","tokens":[5]}', True),
    "lone surrogate": (b'{"x":"\\ud800","tokens":[5]}', True),
    "white space around": (b' \r\n\t{"tokens" : [5]}\n', True),
}


@pytest.mark.parametrize("name", BODIES)
def test_what_a_body_may_be(service, name):
    body, taken = BODIES[name]
    answer = service.session.post(
        service.url + "/v1/detokenize", data=body, headers={"Content-Type": "application/json"}
    )
    if taken:
        assert answer.status_code == 200, answer.text
    else:
        check_error(answer, 400, "invalid_json", None)


@pytest.mark.parametrize("name", ["max_tokens", "temperature"])
@pytest.mark.parametrize("digits", [b"1e400", b"-1e400", b"1" + b"0" * 400 + b".0"])
def test_numbers_beyond_all_floats(service, name, digits):
    body = b'{"' + name.encode() + b'":' + digits + b"}"
    answer = service.session.post(service.url + "/v1/completions", data=body)
    assert answer.status_code == 400
    assert answer.json()["error"]["code"] in (INVALID_VALUE, "invalid_json")


MEDIA_TYPES = {
    "application/json": True,
    "application/json; charset=utf-8": True,
    "Application/JSON;charset=UTF-8": True,
    "text/plain": False,
    "application/x-www-form-urlencoded": False,
    "multipart/form-data; boundary=x": False,
    "application/jsonl": False,
    "json": False,
}


@pytest.mark.parametrize("media_type", MEDIA_TYPES, ids=str)
def test_media_types(service, media_type):
    answer = send(service, "/v1/detokenize", {"tokens": [5]}, **{"Content-Type": media_type})
    if MEDIA_TYPES[media_type]:
        assert answer.status_code == 200
    else:
        check_error(answer, 415, "unsupported_media_type", None)


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity", "x"])
def test_content_encodings_are_refused(service, encoding):
    answer = send(service, "/v1/detokenize", {"tokens": [5]}, **{"Content-Encoding": encoding})
    check_error(answer, 415, "unsupported_media_type", None)


def test_a_lone_surrogate_is_the_replacement_character(service):
    both = [said(send(service, "/v1/tokenize", {"prompt": text})) for text in ("\ud800", "\ufffd")]
    assert both[0] == both[1]
    pair = send(service, "/v1/tokenize", {"prompt": "\U0001f600"}).json()["tokens"]
    assert said(send(service, "/v1/detokenize", {"tokens": pair}))["prompt"] == "\U0001f600"


# Section 1: headers and routing.

GETS = [
    "/",
    "/docs",
    "/health",
    "/ready",
    "/version",
    "/metrics",
    "/openapi.json",
    "/v1/models",
    "/v1/models/bpe",
    "/v1/tokenizer_info",
    "/tokenizer_info",
]
POSTS = [*ENDPOINTS, "/tokenize", "/detokenize"]


@pytest.mark.parametrize("path", GETS)
def test_get_and_head(service, path):
    got = service.get(path, allow_redirects=False)
    head = service.session.head(service.url + path, timeout=PATIENCE_SECONDS)
    assert (got.status_code, head.status_code, head.content) == (200, 200, b"")
    assert head.headers["Content-Type"] == got.headers["Content-Type"]
    for answer in (got, head):
        assert answer.headers["x-request-id"]
        assert ("foretoken-model" in answer.headers) == path.startswith("/v1/")
        assert not [name for name in answer.headers if name.lower().startswith("access-control")]


@pytest.mark.parametrize("path", GETS + POSTS)
def test_wrong_methods_and_trailing_slashes(service, path):
    wrong = {"POST", "PUT", "PATCH", "DELETE"} if path in GETS else {"GET", "HEAD", "PUT", "DELETE"}
    for method in sorted(wrong):
        answer = service.session.request(method, service.url + path, timeout=PATIENCE_SECONDS)
        assert answer.status_code == 405
        right = {"GET", "HEAD"} if path in GETS else {"POST"}
        assert right <= set(re.split(", *", answer.headers["Allow"])) <= right | {"OPTIONS"}
        if method != "HEAD":
            check_error(answer, 405, "method_not_allowed", None)
    if path != "/":
        check_error(service.get(path + "/", allow_redirects=False), 404, "unknown_url", None)


@pytest.mark.parametrize(
    "path", ["/nothing", "/v1", "/v1/", "/v1/Completions", "/v1/%00", "/v1/édition"]
)
def test_unknown_paths(service, path):
    check_error(service.get(path, allow_redirects=False), 404, "unknown_url", None)


def test_chat_is_told_where_completions_are(service):
    answer = send(service, "/v1/chat/completions", {"messages": []})
    assert "/v1/completions" in check_error(answer, 404, "unknown_url", None)


@pytest.mark.parametrize("model", ["no", "bp", "BPE", "bpe%20", "a.b-c_d"])
def test_unknown_models(service, model):
    for path in (f"/v1/models/{model}", f"/tokenizer_info?model={model}"):
        check_error(service.get(path), 404, "model_not_found", "model")


@pytest.mark.parametrize("request_id", ["a", "A.b_c-9", "x" * 128])
def test_request_ids_that_are_kept(service, request_id):
    for path in ("/health", "/v1/nothing"):
        answer = service.get(path, headers={"X-Request-Id": request_id})
        assert answer.headers["x-request-id"] == request_id


@pytest.mark.parametrize("request_id", ["", "a b", "x" * 129, "é", "a,b", "a/b"])
def test_request_ids_that_are_replaced(service, request_id):
    given = {"X-Request-Id": request_id.encode()}
    ids = {service.get("/health", headers=given).headers["x-request-id"] for _ in range(2)}
    assert len(ids) == 2
    assert all(re.fullmatch("[A-Za-z0-9._-]{1,128}", one) and one != request_id for one in ids)


@pytest.mark.parametrize("header", ["Bearer ", "Bearer x", "Basic eDp4", "nonsense", ""])
def test_without_keys_any_authorization_is_fine(service, header):
    answer = send(service, "/v1/detokenize", {"tokens": [5]}, Authorization=header)
    assert answer.status_code == 200


@pytest.mark.parametrize("accept", ["text/html", "text/event-stream", "nonsense", "image/*;q=0"])
def test_accept_is_ignored(service, accept):
    answer = send(service, "/v1/detokenize", {"tokens": [5]}, Accept=accept)
    assert answer.headers["Content-Type"] == "application/json"


TOO_LONG = "a" * 300_000
#: The order of checks of section 2: each request is wrong in two ways; the first one counts.
TWO_FAULTS = [
    ("/v1/nothing", "{", "text/plain", 404, "unknown_url"),
    ("/v1/completions", "{", "text/plain", 415, "unsupported_media_type"),
    ("/v1/completions", " " * 8388609, "text/plain", 415, "unsupported_media_type"),
    ("/v1/completions", "{" + " " * 8388609, "application/json", 413, "request_too_large"),
    ("/v1/completions", '{"model":"no","n":0}', "application/json", 404, "model_not_found"),
    ("/v1/completions", '{"n":0,"prompt":[5,999]}', "application/json", 400, "invalid_token_id"),
    ("/v1/completions", '{"n":0,"state":"x"}', "application/json", 400, "invalid_value"),
    (
        "/v1/completions",
        f'{{"prompt":"{TOO_LONG}","state":["x","y"]}}',
        "application/json",
        400,
        "invalid_value",
    ),
    (
        "/v1/next",
        f'{{"prompt":"{TOO_LONG}","state":"x"}}',
        "application/json",
        400,
        "context_length_exceeded",
    ),
    (
        "/v1/next",
        json.dumps({"candidates": ["x." * 512] * 64, "prompt": ["a"] * 128, "state": "x"}),
        "application/json",
        400,
        "invalid_value",
    ),
]


@pytest.mark.parametrize(("path", "body", "media_type", "status", "code"), TWO_FAULTS, ids=case_id)
def test_the_order_of_checks(service, path, body, media_type, status, code):
    answer = service.session.post(
        service.url + path,
        data=body,
        headers={"Content-Type": media_type},
        timeout=PATIENCE_SECONDS,
    )
    assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)


LIMIT_BYTES = 8388608


@pytest.mark.parametrize(
    ("path", "media_type", "size", "status"),
    [
        ("/v1/detokenize", "application/json", LIMIT_BYTES, 200),
        ("/v1/detokenize", "application/json", LIMIT_BYTES + 1, 413),
        ("/v1/detokenize", "text/plain", LIMIT_BYTES, 415),
        ("/v1/detokenize", "text/plain", LIMIT_BYTES + 1, 415),
        ("/v1/nothing", "application/json", LIMIT_BYTES, 404),
        ("/v1/models", "application/json", LIMIT_BYTES, 405),
    ],
)
def test_large_bodies_leave_the_connection_usable(service, path, media_type, size, status):
    headers = {"Content-Type": media_type}
    for _ in range(2):
        answer = service.session.post(
            service.url + path,
            data=b'{"tokens":[5]}'.ljust(size),
            headers=headers,
            timeout=PATIENCE_SECONDS,
        )
        assert answer.status_code == status
        # Either the body was read away, or the answer says that the connection ends.
        closes = answer.headers["Connection"] == "close"
        assert closes == (size > LIMIT_BYTES)
        assert service.get("/health").status_code == 200
