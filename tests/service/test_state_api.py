"""Going on from a state over real HTTP: the same bits as sending the whole text."""

import base64
import itertools
import random
import time

import event_stream
import pytest
import requests
from running_service import running_service
from tiny_bundle import TEXTS, tiny_bundle

from service.recurrent_state import Snapshot, StateCodec, StateModel

KINDS = ("bpe", "char", "word")
SECRET = "a secret that only this test knows"


@pytest.fixture
def server(service_of_all_kinds):
    """Two HTTP workers that share no more than what they were started with."""
    return service_of_all_kinds


@pytest.fixture(scope="module")
def keyed():
    """A service whose secret is known here, asked with the first of its two API keys."""
    flags = ("--state-keys", SECRET, "--api-keys", "key-one,key-two")
    with running_service(tiny_bundle(), *flags) as server:
        server.session.headers["Authorization"] = "Bearer key-one"
        yield server


def post(server, path, **fields):
    """The answer, which must be 200, on a connection of its own: from either worker."""
    answer = requests.post(server.url + path, json=fields, timeout=60)
    assert answer.status_code == 200, answer.text
    return answer.json()


def complete(server, **fields):
    """The only choice."""
    (choice,) = post(server, "/v1/completions", **fields)["choices"]
    return choice


def stream(server, **fields):
    """The only choice, joined from its chunks."""
    fields["stream"] = True
    answer = requests.post(server.url + "/v1/completions", json=fields, timeout=60)
    (choice,) = event_stream.join(event_stream.read(answer))
    return choice


def read(server, token_ids, state=None, **fields):
    """The state after ``token_ids``, nothing generated."""
    fields |= {"prompt": [token_ids], "max_tokens": 0, "return_state": True, "state": state}
    return complete(server, **fields)["state"]


def content(state):
    """What a state says, but for when it was made."""
    payload = base64.urlsafe_b64decode(state.split(".")[1] + "==")
    return payload[:53] + payload[61:]


def tokenize(server, kind, text):
    return post(server, "/v1/tokenize", model=kind, prompt=text)["tokens"]


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("finish", [complete, stream])
def test_going_on_equals_sending_the_whole(server, kind, finish):
    generator = random.Random(kind)
    for _ in range(6):
        token_ids = tokenize(server, kind, generator.choice(TEXTS)[: generator.randrange(2, 60)])
        cuts = sorted(generator.choices(range(len(token_ids) + 1), k=generator.randrange(1, 4)))
        fields = {"model": kind, "seed": generator.randrange(99), "max_tokens": 8}
        fields |= {"logprobs": 3, "return_token_ids": True, "return_state": True}
        fields |= {"temperature": generator.choice([0, 1]), "echo": generator.random() < 0.7}
        state = None
        for start, stop in itertools.pairwise([0, *cuts]):
            state = read(server, token_ids[start:stop], state, model=kind)
        rest = token_ids[cuts[-1] :]
        whole = finish(server, prompt=[token_ids], **fields)
        resumed = finish(server, prompt=[rest], state=state, **fields)
        assert resumed["prompt_token_ids"] == rest
        assert resumed["token_ids"] == whole["token_ids"]
        assert content(resumed["state"]) == content(whole["state"])
        assert (
            resumed["state_tokens"]
            == whole["state_tokens"]
            == len(token_ids) + len(whole["token_ids"])
        )
        assert resumed["state_offset"] == whole["state_offset"]
        left_out = cuts[-1] if fields["echo"] else 0
        for name in ("tokens", "token_logprobs", "top_logprobs"):
            expected = whole["logprobs"][name][left_out:]
            if fields["echo"] and cuts[-1] == 0 and rest:
                # From a state even the first token has a probability.
                assert resumed["logprobs"][name][1:] == expected[1:]
            else:
                assert resumed["logprobs"][name] == expected


@pytest.mark.parametrize("kind", KINDS)
def test_after_any_cut(server, kind):
    """Every cut of a text with characters of one to four bytes, all in one request."""
    token_ids = tokenize(server, kind, TEXTS[1])
    cuts = range(len(token_ids) + 1)
    fields = {"model": kind, "seed": 6, "max_tokens": 4, "logprobs": 2, "return_state": True}
    reading = {"model": kind, "max_tokens": 0, "return_state": True}
    heads = post(server, "/v1/completions", **reading, prompt=[token_ids[:cut] for cut in cuts])[
        "choices"
    ]
    resumed = post(
        server, "/v1/completions", **fields,
        prompt=[token_ids[cut:] for cut in cuts],
        state=[head["state"] for head in heads],
    )["choices"]  # fmt: skip
    whole = complete(server, **fields, prompt=[token_ids])
    for cut, head, choice in zip(cuts, heads, resumed, strict=True):
        assert head["state_tokens"] == cut
        assert choice["logprobs"] == whole["logprobs"]
        assert choice["text"] == whole["text"]
        assert content(choice["state"]) == content(whole["state"])


def test_the_first_token_after_a_state_is_scored(server):
    state = read(server, [])
    scored = complete(server, prompt="One day", echo=True, logprobs=0, max_tokens=0, state=state)
    assert None not in scored["logprobs"]["token_logprobs"]


@pytest.mark.parametrize("finish", [complete, stream])
def test_after_a_stop_the_state_covers_whole_tokens_of_the_text(server, finish):
    generator = random.Random(1)
    prompt = tokenize(server, "bpe", "In Italy")
    fields = {"model": "bpe", "prompt": [prompt], "max_tokens": 12, "return_token_ids": True}
    num_cut = 0
    for seed in range(12):
        text = complete(server, **fields, seed=seed)["text"]
        start = generator.randrange(len(text) - 1)
        stop = text[start : start + generator.randrange(1, 4)]
        include = generator.random() < 0.3
        choice = finish(
            server,
            **fields,
            seed=seed,
            stop=[stop],
            include_stop_str_in_output=include,
            return_state=True,
        )
        assert choice["finish_reason"] == "stop"
        num_covered = choice["state_tokens"] - len(prompt)
        covered = choice["token_ids"][:num_covered]
        num_cut += len(choice["token_ids"]) - num_covered
        again = read(server, prompt + covered, model="bpe")
        assert content(choice["state"]) == content(again)
        decoded = post(server, "/v1/detokenize", model="bpe", tokens=covered)["prompt"]
        assert decoded == choice["text"][: choice["state_offset"]]
        assert choice["state_offset"] <= len(choice["text"])
    assert num_cut > 5


def test_a_stop_id_and_the_end_token_are_not_covered(server):
    fields = {"model": "bpe", "prompt": "In Italy", "max_tokens": 5, "return_state": True}
    before = complete(server, **fields | {"max_tokens": 0})
    ended = complete(server, **fields, logit_bias={"0": 100})
    assert ended["finish_reason"] == "stop"
    assert content(ended["state"]) == content(before["state"])
    (token_id,) = tokenize(server, "bpe", " and")
    fields |= {"logit_bias": {str(token_id): 100}, "stop_token_ids": [token_id]}
    stopped = complete(server, **fields)
    assert (stopped["stop_reason"], stopped["state_offset"]) == (token_id, 0)
    assert content(stopped["state"]) == content(before["state"])
    kept = complete(server, **fields, include_stop_str_in_output=True)
    assert (kept["text"], kept["state_offset"]) == (" and", 4)
    assert kept["state_tokens"] == before["state_tokens"] + 1


def test_a_document_begins_anew_in_the_middle(server):
    token_ids = tokenize(server, "bpe", "One day<|endoftext|>we walked")
    after = complete(server, model="bpe", prompt=[token_ids], max_tokens=0, return_state=True)
    alone = tokenize(server, "bpe", "we walked")
    assert after["state_tokens"] == len(alone)
    assert content(after["state"]) == content(read(server, alone, model="bpe"))


def test_a_state_carries_the_bytes_of_an_unfinished_character(server):
    euro = tokenize(server, "bpe", "\u20ac")
    assert len(euro) == 3
    fields = {"model": "bpe", "max_tokens": 1, "return_state": True}
    begun = complete(server, **fields, prompt=[euro[:1]], logit_bias={str(euro[1]): 100})
    assert (begun["text"], begun["state_offset"]) == ("\ufffd", 1)
    fields |= {"state": begun["state"], "logit_bias": {str(euro[2]): 100}, "max_tokens": 1}
    for echo in (False, True):
        done = complete(server, **fields, prompt="", echo=echo, logprobs=0)
        assert done["text"] == "\u20ac"
        assert done["logprobs"]["text_offset"] == [0]
    echoed = complete(server, **fields | {"max_tokens": 0}, prompt=[[euro[2]]], echo=True)
    assert echoed["text"] == "\u20ac"
    whole = read(server, euro, model="bpe")
    assert content(echoed["state"]) == content(whole)
    # Followed by something else the bytes are no character, which the earlier answer has shown.
    broken = complete(server, **fields | {"max_tokens": 0}, prompt="a", echo=True)
    assert broken["text"] == "a"


def test_every_choice_has_its_own_state(server):
    fields = {"model": "word", "prompt": ["One", "In Italy"], "n": 2, "max_tokens": 4, "seed": 3}
    body = post(server, "/v1/completions", **fields, return_state=True, return_token_ids=True)
    for choice in body["choices"]:
        token_ids = choice["prompt_token_ids"] + choice["token_ids"]
        assert content(choice["state"]) == content(read(server, token_ids, model="word"))


def test_one_state_for_all_prompts_or_one_for_each(server):
    fields = {"model": "char", "seed": 4, "max_tokens": 6}
    states = [read(server, tokenize(server, "char", text), model="char") for text in ("In", "On")]
    one = [complete(server, **fields, prompt=" a", state=state)["text"] for state in states]
    both = post(server, "/v1/completions", **fields, prompt=[" a", " a"], state=states)
    assert [choice["text"] for choice in both["choices"]] == one
    shared = post(server, "/v1/completions", **fields, prompt=[" a", " a"], state=states[0])
    assert [choice["text"] for choice in shared["choices"]] == [one[0]] * 2


def test_only_new_tokens_are_counted(server):
    state = read(server, tokenize(server, "bpe", TEXTS[0]), model="bpe")
    body = post(
        server, "/v1/completions", model="bpe", prompt="", state=state, max_tokens=2,
        ignore_eos=True,
    )  # fmt: skip
    assert body["usage"]["prompt_tokens"] == 0
    assert body["usage"]["completion_tokens"] == 2


@pytest.mark.parametrize("kind", KINDS)
def test_next_goes_on_from_a_state(server, kind):
    token_ids = tokenize(server, kind, TEXTS[0])
    for cut in (0, 1, len(token_ids) // 2, len(token_ids)):
        fields = {"model": kind, "top_k": 5, "return_state": True}
        (first,) = post(server, "/v1/next", **fields, prompt=[token_ids[:cut]])["data"]
        assert (first["state_tokens"], first["state_offset"]) == (cut, 0)
        body = post(server, "/v1/next", **fields, prompt=[token_ids[cut:]], state=first["state"])
        (rest,) = body["data"]
        (whole,) = post(server, "/v1/next", **fields, prompt=[token_ids])["data"]
        assert (rest["top"], rest["entropy"]) == (whole["top"], whole["entropy"])
        assert content(rest["state"]) == content(whole["state"])
        assert body["usage"]["prompt_tokens"] == len(token_ids) - cut
        if cut:
            total = first["prompt_logprob"] + rest["prompt_logprob"]
            assert total == pytest.approx(whole["prompt_logprob"], rel=1e-6)


def test_an_answer_has_no_state_unless_asked_for(server):
    choice = complete(server, prompt="One", max_tokens=1)
    assert not {"state", "state_tokens", "state_offset"} & choice.keys()


def test_the_size_of_a_state_is_told(server):
    for model in server.get("/v1/models").json()["data"]:
        state = read(server, [3], model=model["id"])
        payload = base64.urlsafe_b64decode(state.split(".")[1] + "==")
        assert len(payload) == model["state_bytes"]


def refusal(server, status, path="/v1/completions", **fields):
    answer = server.post(path, {"max_tokens": 1, **fields})
    assert answer.status_code == status, answer.text
    return answer.json()["error"], answer.headers


def test_what_is_wrong_with_a_state_is_told(keyed, service, server):
    def sealed(seconds_ago=0.0, owner="key-one", **fields):
        model = keyed.get("/v1/models").json()["data"][0]
        known = {
            "name": model["id"],
            "version": int(model["version"]),
            "digest": keyed.get("/version").json()["system_fingerprint"],
            "state_size": (model["state_bytes"] - 73) // 4,
        }
        codec = StateCodec((SECRET,), 1.0, lambda: time.time() - seconds_ago)
        described = StateModel(**known | fields)
        return codec.seal(Snapshot(bytes(4 * described.state_size), 7), described, owner)

    assert keyed.complete(prompt="a", state=sealed())["choices"]
    fine = sealed()
    cases = [
        (fine[:-1], 422, "invalid_state"),
        (fine.replace("fts1", "fts2"), 422, "invalid_state"),
        ("", 422, "invalid_state"),
        ("\ud800", 422, "invalid_state"),
        ([fine, fine], 400, "invalid_value"),
        ([], 400, "invalid_value"),
        (sealed(owner="key-two"), 422, "invalid_state"),
        (sealed(owner=""), 422, "invalid_state"),
        (sealed(seconds_ago=90_000), 422, "state_expired"),
        (sealed(name="other"), 422, "state_model_mismatch"),
        (sealed(version=2), 409, "stale_state"),
        (sealed(digest="fp_other"), 409, "stale_state"),
        (read(service, [5]), 422, "invalid_state"),
    ]
    for state, status, code in cases:
        for path in ("/v1/completions", "/v1/next"):
            error, headers = refusal(keyed, status, path, prompt="a", state=state)
            assert (error["code"], error["param"]) == (code, "state")
            assert (headers.get("x-should-retry") == "false") == (status == 409)
    error, _ = refusal(keyed, 409, prompt="a", state=sealed(version=2), stream=True)
    assert error["type"] == "conflict_error"
    other = read(server, [5], model="char")
    error, _ = refusal(server, 422, prompt="a", state=other, model="word")
    assert error["code"] == "state_model_mismatch"
    error, _ = refusal(keyed, 400, prompt="a", state=fine, add_special_tokens=True)
    assert error["param"] == "add_special_tokens"


def test_a_state_is_good_only_with_the_api_key_it_was_given_to(keyed):
    given = keyed.complete(prompt="In", max_tokens=0, return_state=True)["choices"][0]["state"]
    assert keyed.complete(prompt=" Italy", state=given)["choices"]
    other = {"Authorization": "Bearer key-two"}
    answer = keyed.post("/v1/completions", {"prompt": " Italy", "state": given}, headers=other)
    assert (answer.status_code, answer.json()["error"]["code"]) == (422, "invalid_state")
