"""States as clients hold them: read back as written, and refused for whatever is wrong."""

import base64

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.errors import ApiError
from service.recurrent_state import PREFIX, Snapshot, StateCodec, StateModel, pending_after
from service.settings import Settings

MODEL = StateModel(name="travel", version=3, digest="fp_0123456789ab", state_size=5)
ROW = np.array([0.0, -0.0, 1.5, 3e-38, -7e37], np.float32).tobytes()
SNAPSHOT = Snapshot(ROW, num_tokens=42, pending=b"\xe2\x82")
NOW = 1_800_000_000.0
OLD, NEW, OTHER = "o" * 32, "n" * 32, "x" * 32


def codec(*secrets, ttl_seconds=60.0, now=NOW):
    return StateCodec(secrets or (NEW,), ttl_seconds, lambda: now)


def refusal(text, model=MODEL, owner="", by=None):
    """The error that ``text`` is answered with."""
    with pytest.raises(ApiError) as caught:
        (by or codec()).open(text, model, owner)
    assert caught.value.param == "state"
    return caught.value


def altered(model=MODEL, **fields):
    return StateModel(**{**vars(model), **fields})


@given(
    row=st.binary(min_size=20, max_size=20),
    num_tokens=st.integers(0, 2**63),
    pending=st.binary(max_size=3),
    owner=st.text(),
)
def test_what_was_sealed_is_opened(row, num_tokens, pending, owner):
    row = np.nan_to_num(np.frombuffer(row, np.float32)).tobytes()
    snapshot = Snapshot(row, num_tokens, pending)
    text = codec().seal(snapshot, MODEL, owner)
    assert codec().open(text, MODEL, owner) == snapshot


def test_the_form():
    text = codec().seal(SNAPSHOT, MODEL, "")
    prefix, payload, tag = text.split(".")
    assert prefix + "." == PREFIX == "fts1."
    assert len(base64.urlsafe_b64decode(payload + "==")) == MODEL.payload_bytes
    assert len(base64.urlsafe_b64decode(tag + "=")) == 32
    assert base64.urlsafe_b64decode(payload + "==").endswith(ROW)


def test_every_state_of_a_model_has_one_length():
    lengths = {
        len(codec().seal(Snapshot(ROW, num_tokens, pending), MODEL, owner))
        for num_tokens, pending, owner in [(0, b"", ""), (10**15, b"\xf0\x9f\x98", "key" * 50)]
    }
    assert len(lengths) == 1


def test_any_changed_character_is_noticed():
    text = codec().seal(SNAPSHOT, MODEL, "")
    for position, character in enumerate(text):
        other = "A" if character != "A" else "B"
        changed = text[:position] + other + text[position + 1 :]
        assert refusal(changed).code == "invalid_state", position


def test_any_shorter_text_is_refused():
    text = codec().seal(SNAPSHOT, MODEL, "")
    for length in range(len(text)):
        assert refusal(text[:length]).code == "invalid_state"
        assert refusal(text[length + 1 :]).code == "invalid_state"


@pytest.mark.parametrize(
    "change", ["{}=", "{}==", "{}\n", " {}", "{}.", "{}.{}", "{}\u00e9", "\0{}"]
)
def test_nothing_may_be_added(change):
    text = codec().seal(SNAPSHOT, MODEL, "")
    assert refusal(change.format(text, text)).code == "invalid_state"


@given(st.text() | st.text("fts1.AaZz09-_=").map(PREFIX.__add__))
def test_any_other_text_is_refused(text):
    assert refusal(text).code == "invalid_state"


def test_nothing_is_decoded_before_the_tag_was_checked(monkeypatch):
    def never(*_):
        raise AssertionError("decoded")

    text = codec().seal(SNAPSHOT, MODEL, "")
    monkeypatch.setattr(base64, "urlsafe_b64decode", never)
    assert refusal(text[:-1] + ("A" if text[-1] != "A" else "B")).code == "invalid_state"
    with pytest.raises(AssertionError, match="decoded"):
        codec().open(text, MODEL, "")


def test_another_secret():
    text = codec(OTHER).seal(SNAPSHOT, MODEL, "")
    assert refusal(text).code == "invalid_state"
    assert refusal(text, by=codec(NEW, OLD)).code == "invalid_state"


def test_while_the_secret_is_replaced_both_are_good():
    before = codec(OLD).seal(SNAPSHOT, MODEL, "key")
    during = codec(NEW, OLD)
    assert during.open(before, MODEL, "key") == SNAPSHOT
    after = during.seal(SNAPSHOT, MODEL, "key")
    assert codec(NEW).open(after, MODEL, "key") == SNAPSHOT
    assert refusal(before, owner="key", by=codec(NEW)).code == "invalid_state"
    assert refusal(after, owner="key", by=codec(OLD)).code == "invalid_state"


@pytest.mark.parametrize(("owner", "other"), [("", "key"), ("key", ""), ("key", "Key")])
def test_another_api_key(owner, other):
    text = codec().seal(SNAPSHOT, MODEL, owner)
    assert refusal(text, owner=other).code == "invalid_state"


def test_the_api_key_does_not_show():
    payloads = {
        codec(secret).seal(SNAPSHOT, MODEL, "a-key-that-is-secret").split(".")[1]
        for secret in (OLD, NEW)
    }
    owners = {base64.urlsafe_b64decode(payload + "==")[37:53] for payload in payloads}
    assert len(owners) == 2


def test_age():
    text = codec().seal(SNAPSHOT, MODEL, "")
    assert codec(now=NOW + 59.9).open(text, MODEL, "") == SNAPSHOT
    assert codec(now=NOW - 30).open(text, MODEL, "") == SNAPSHOT
    error = refusal(text, by=codec(now=NOW + 61))
    assert (error.code, error.status) == ("state_expired", 422)
    assert "61 s" in error.message
    assert "60 s" in error.message


@pytest.mark.parametrize("size", [5, 6])
def test_another_model(size):
    text = codec().seal(SNAPSHOT, MODEL, "")
    error = refusal(text, altered(name="tales", state_size=size))
    assert (error.code, error.status) == ("state_model_mismatch", 422)


@pytest.mark.parametrize(
    "fields", [{"version": 4}, {"digest": "fp_x"}, {"version": 2, "state_size": 9}]
)
def test_another_version(fields):
    text = codec().seal(SNAPSHOT, MODEL, "")
    error = refusal(text, altered(**fields))
    assert (error.code, error.status) == ("stale_state", 409)
    assert error.headers["x-should-retry"] == "false"
    assert "version 3" in error.message
    assert f"version {fields.get('version', 3)}" in error.message


def test_a_model_of_another_size_that_pretends_to_be_the_same():
    text = codec().seal(SNAPSHOT, MODEL, "")
    assert refusal(text, altered(state_size=6)).code == "invalid_state"


def test_settings_hold_the_secrets():
    settings = Settings(state_keys=f"{NEW}, {OLD}")
    assert NEW not in settings.model_dump_json()
    for secret in (NEW, OLD):
        text = StateCodec((secret,), 60.0).seal(SNAPSHOT, MODEL, "")
        assert StateCodec.of(settings).open(text, MODEL, "") == SNAPSHOT
    without = StateCodec.of(Settings())
    text = without.seal(SNAPSHOT, MODEL, "")
    assert without.open(text, MODEL, "") == SNAPSHOT
    assert refusal(text, by=StateCodec.of(Settings())).code == "invalid_state"


@given(st.text(min_size=1), st.data())
def test_pending_bytes_are_those_of_the_unfinished_character(text, data):
    encoded = text.encode("utf-8", "replace")
    cut = data.draw(st.integers(0, len(encoded)))
    pending = pending_after(b"", [encoded[:1], encoded[1:cut]] if cut else [])
    assert encoded[:cut].decode("utf-8", "ignore").encode() + pending == encoded[:cut]
    assert pending_after(pending, [encoded[cut:]]) == b""
