"""A state outlives the process that gave it: after every cut, the same bits as the whole text.

One service gives the states and ends; another, with the same secret and bundles, goes on from them.
"""

from typing import Any, NamedTuple

import pytest
from event_stream import events, join
from running_service import RunningService, running_service
from tiny_bundle import TEXTS, publish_tiny_bundle

KINDS = ("bpe", "char", "word")
SECRET = "a secret that both services know"
TEXT = TEXTS[1][:29]  # characters of one to four bytes
FIELDS = {"max_tokens": 6, "seed": 8, "logprobs": 3, "return_token_ids": True, "echo": True}

Choice = dict[str, Any]


class Cut(NamedTuple):
    """A prompt cut in two, each part as it is sent."""

    head: str | list[int]
    rest: str | list[int]


class Given(NamedTuple):
    """What the first service said of each cut of one prompt.

    Attributes:
        cuts: the prompt's two parts.
        states: after each head.
        wholes: the choice for the tokens of both parts, sent at once.
        lengths: tokens of each head.
    """

    cuts: list[Cut]
    states: list[str]
    wholes: list[Choice]
    lengths: list[int]


def choices(service: RunningService, **fields: Any) -> list[Choice]:
    found: list[Choice] = service.complete(**fields)["choices"]
    return found


def tokenize(service: RunningService, kind: str, text: str) -> list[int]:
    answer = service.post("/v1/tokenize", {"model": kind, "prompt": text})
    assert answer.status_code == 200, answer.text
    token_ids: list[int] = answer.json()["tokens"]
    return token_ids


def cuts_of(service: RunningService, kind: str, form: str) -> list[Cut]:
    """Every cut, the empty head and the empty rest too."""
    whole = TEXT if form == "text" else tokenize(service, kind, TEXT)
    return [Cut(whole[:place], whole[place:]) for place in range(len(whole) + 1)]


def give(service: RunningService, kind: str, form: str) -> Given:
    cuts = cuts_of(service, kind, form)
    reading = {"model": kind, "max_tokens": 0, "return_state": True, "return_token_ids": True}
    heads = choices(service, **reading, prompt=[cut.head for cut in cuts])
    rests = choices(service, **reading, prompt=[cut.rest for cut in cuts])
    ids = [
        head["prompt_token_ids"] + rest["prompt_token_ids"]
        for head, rest in zip(heads, rests, strict=True)
    ]
    return Given(
        cuts=cuts,
        states=[head["state"] for head in heads],
        wholes=choices(service, **FIELDS, model=kind, prompt=ids),
        lengths=[len(head["prompt_token_ids"]) for head in heads],
    )


@pytest.fixture(scope="module")
def bundles(tmp_path_factory):
    folder = tmp_path_factory.mktemp("restart") / "bundles"
    for kind in KINDS:
        publish_tiny_bundle(folder, kind, kind=kind)
    return folder


@pytest.fixture(scope="module")
def given(bundles):
    """From a service that has ended by now."""
    with running_service(bundles, "--state-keys", SECRET) as service:
        return {
            (kind, form): give(service, kind, form) for kind in KINDS for form in ("text", "ids")
        }


@pytest.fixture(scope="module")
def second(bundles, given):
    """Started afresh, and sized otherwise."""
    flags = ("--state-keys", SECRET, "--workers", "2", "--engines", "2", "--max-running", "5")
    with running_service(bundles, *flags) as service:
        yield service


@pytest.mark.parametrize("form", ["text", "ids"])
@pytest.mark.parametrize("kind", KINDS)
def test_going_on_after_every_cut_equals_sending_the_whole(second, given, kind, form):
    cuts, states, wholes, lengths = given[kind, form]
    assert len(cuts) > 6
    resumed = choices(second, **FIELDS, model=kind, prompt=[cut.rest for cut in cuts], state=states)
    for cut, whole, choice, length in zip(cuts, wholes, resumed, lengths, strict=True):
        assert choice["token_ids"] == whole["token_ids"], cut
        assert choice["prompt_token_ids"] == whole["prompt_token_ids"][length:], cut
        assert choice["finish_reason"] == whole["finish_reason"], cut
        for name in ("tokens", "token_logprobs", "top_logprobs"):
            expected = whole["logprobs"][name][length:]
            found = choice["logprobs"][name]
            if length == 0 and name != "tokens" and choice["prompt_token_ids"]:
                # From a state even the first token has a probability.
                assert found[0] is not None
                expected, found = expected[1:], found[1:]
            assert found == expected, (cut, name)


@pytest.mark.parametrize("kind", KINDS)
def test_the_second_service_alone_says_the_same(second, given, kind):
    wholes = given[kind, "ids"].wholes
    again = choices(second, **FIELDS, model=kind, prompt=[wholes[0]["prompt_token_ids"]])
    assert again == [wholes[0]]


@pytest.mark.parametrize("kind", KINDS)
def test_a_stream_goes_on_too(second, given, kind):
    cuts, states, wholes, _ = given[kind, "ids"]
    middle = len(cuts) // 2
    fields = FIELDS | {"echo": False, "model": kind, "state": states[middle]}
    chunks = events(second, fields | {"prompt": [cuts[middle].rest]})
    (choice,) = join(chunks)
    num_new = len(wholes[middle]["token_ids"])
    assert choice["token_ids"] == wholes[middle]["token_ids"]
    for name in ("tokens", "token_logprobs", "top_logprobs"):
        assert choice["logprobs"][name] == wholes[middle]["logprobs"][name][-num_new:]
