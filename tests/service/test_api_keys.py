"""Which key opens what, by the rules and over HTTP."""

import pytest
from running_service import running_service
from tiny_bundle import tiny_bundle

from service.api_keys import ApiKeys
from service.errors import ApiError
from service.settings import Settings

ADMIN = {"Authorization": "Bearer the-admin"}


def check(path, authorization, **settings):
    """The code of the refusal, or the key accepted."""
    keys = ApiKeys(Settings.model_validate(settings))
    try:
        return keys.check(path, authorization)
    except ApiError as error:
        return error.code


@pytest.mark.parametrize("authorization", [None, "", "Bearer ", "Bearer x", "Basic x", "\xff"])
def test_without_keys_everything_is_accepted_but_administration(authorization):
    assert check("/v1/completions", authorization) is None
    assert check("/v1/completions", authorization, admin_key="a") is None
    assert check("/admin/models", authorization) == "admin_disabled"


@pytest.mark.parametrize(
    ("authorization", "accepted"),
    [
        ("Bearer one", "one"),
        ("bearer two", "two"),
        ("BEARER   two ", "two"),
        ("Bearer One", None),
        ("Bearer on", None),
        ("Bearer onee", None),
        ("Bearer one,two", None),
        ("Basic one", None),
        ("one", None),
        ("Bearer", None),
        ("Bearer \xc3\xa9", None),
        (None, None),
    ],
)
@pytest.mark.parametrize(
    "path", ["/v1/completions", "/v1/models/x", "/tokenize", "/tokenizer_info"]
)
def test_api_keys(path, authorization, accepted):
    assert check(path, authorization, api_keys="one, two") == (accepted or "invalid_api_key")


@pytest.mark.parametrize("path", ["/", "/docs", "/openapi.json", "/health", "/ready", "/version"])
def test_service_pages_are_open(path):
    assert check(path, None, api_keys="one", admin_key="a") is None


@pytest.mark.parametrize(
    ("path", "key", "expected"),
    [
        ("/admin/reload", "a", None),
        ("/admin/reload", "one", "insufficient_permissions"),
        ("/admin/reload", "other", "invalid_api_key"),
        ("/v1/completions", "a", "insufficient_permissions"),
    ],
)
def test_each_key_has_its_area(path, key, expected):
    assert check(path, f"Bearer {key}", api_keys="one", admin_key="a") == expected


@pytest.mark.parametrize(
    ("access", "nobody", "api", "admin"),
    [
        ("open", None, None, None),
        ("key", "invalid_api_key", "one", None),
        ("admin", "invalid_api_key", "insufficient_permissions", None),
    ],
)
def test_access_to_metrics(access, nobody, api, admin):
    settings = {"metrics_access": access, "api_keys": "one", "admin_key": "a"}
    assert check("/metrics", None, **settings) == nobody
    assert check("/metrics", "Bearer one", **settings) == api
    assert check("/metrics", "Bearer a", **settings) == admin


@pytest.fixture(scope="module")
def guarded():
    """A service with keys and rates, and one worker, so that it counts in one place."""
    flags = ["--api-keys", "k1,k2,k3,k4", "--admin-key", "the-admin"]
    limits = ["--requests-per-minute", "5", "--tokens-per-minute", "100"]
    with running_service(tiny_bundle(), *flags, *limits) as service:
        yield service


def as_user(key):
    return {"Authorization": f"Bearer {key}"}


def test_refusals_over_http(guarded):
    answer = guarded.post("/v1/completions", {"max_tokens": 1})
    assert (answer.status_code, answer.headers["WWW-Authenticate"]) == (401, "Bearer")
    assert answer.json()["error"]["type"] == "authentication_error"
    answer = guarded.post("/admin/reload", None, headers=as_user("k1"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, "insufficient_permissions")
    assert answer.json()["error"]["type"] == "permission_error"
    assert guarded.get("/admin/models", headers=ADMIN).status_code == 200
    assert guarded.get("/metrics").status_code == 200


def test_the_route_comes_before_the_key_and_the_key_before_the_body(guarded):
    assert guarded.get("/v1/nothing").status_code == 404
    assert guarded.get("/v1/completions").status_code == 405
    answer = guarded.session.post(guarded.url + "/v1/completions", data=b"{", timeout=60)
    assert answer.status_code == 401
    assert guarded.get("/health").status_code == 200


def test_states_belong_to_their_key(guarded):
    fields = {"prompt": "In", "max_tokens": 0, "return_state": True}
    first = guarded.post("/v1/completions", fields, headers=as_user("k1")).json()
    state = first["choices"][0]["state"]
    answer = guarded.post("/v1/next", {"state": state}, headers=as_user("k2"))
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_state")
    assert guarded.post("/v1/next", {"state": state}, headers=as_user("k1")).status_code == 200


def check_refused_for_rate(answer):
    assert answer.status_code == 429
    error = answer.json()["error"]
    assert (error["type"], error["code"]) == ("rate_limit_error", "rate_limit_exceeded")
    assert 1 <= int(answer.headers["Retry-After"]) <= 60
    assert 1 <= int(answer.headers["retry-after-ms"]) <= 60000


def test_requests_per_minute(guarded):
    for remaining in range(4, -1, -1):
        answer = guarded.post("/v1/next", {}, headers=as_user("k3"))
        assert answer.status_code == 200
        assert answer.headers["x-ratelimit-limit-requests"] == "5"
        assert answer.headers["x-ratelimit-remaining-requests"] == str(remaining)
        assert 0 <= int(answer.headers["x-ratelimit-reset-requests"]) <= 60
    check_refused_for_rate(guarded.post("/v1/next", {}, headers=as_user("k3")))
    bad = guarded.session.post(
        guarded.url + "/v1/next", data=b"{", headers=as_user("k3"), timeout=60
    )
    check_refused_for_rate(bad)
    for path in ("/tokenize", "/v1/tokenize"):
        answer = guarded.post(path, {"prompt": "x"}, headers=as_user("k3"))
        assert answer.status_code == 200
    answer = guarded.get("/v1/tokenizer_info", headers=as_user("k3"))
    assert answer.status_code == 200
    assert answer.headers["x-ratelimit-remaining-requests"] == "0"


def test_tokens_per_minute(guarded):
    fields = {"prompt": [10, 11], "max_tokens": 40, "ignore_eos": True}
    plain = guarded.post("/v1/completions", fields, headers=as_user("k4"))
    assert plain.headers["x-ratelimit-remaining-tokens"] == str(100 - 42)
    streamed = guarded.post("/v1/completions", {**fields, "stream": True}, headers=as_user("k4"))
    assert streamed.headers["x-ratelimit-remaining-tokens"] == str(100 - 42)
    crossing = guarded.post("/v1/completions", fields, headers=as_user("k4"))
    assert crossing.status_code == 200
    assert crossing.headers["x-ratelimit-remaining-tokens"] == "0"
    check_refused_for_rate(guarded.post("/v1/completions", fields, headers=as_user("k4")))
