"""Next, score, fill, explain and embeddings over real HTTP, for every kind of tokenizer."""

import base64
import itertools
import math
import random

import numpy as np
import openai
import pytest
import requests
from running_service import running_service, wait_until
from tiny_bundle import TEXTS, tiny_bundle

from model.tokenizers import Tokenizer
from service.protocol.embeddings import EmbeddingsAnswer
from service.protocol.explain import ExplainAnswer
from service.protocol.fill import FillAnswer
from service.protocol.next_tokens import NextAnswer
from service.protocol.score import ScoreAnswer
from service.words.word import is_word, is_word_character

ITALY = "In Italy, I learnt some of the ____ language"


class Words:
    """A service and the tokenizer of its bundle."""

    def __init__(self, service, kind):
        self.service = service
        self.tokenizer = Tokenizer.load(tiny_bundle(kind) / "1" / "tokenizer.json")

    def post(self, path, **fields):
        """The answer, which must be 200."""
        answer = self.service.post(path, fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    def score(self, text, **fields):
        (entry,) = self.post("/v1/score", input=text, **fields)["data"]
        return entry

    def logprob(self, token_ids, before):
        """Of token ids behind others."""
        return self.score(list(token_ids), context=list(before), score_first_token=True)[
            "total_logprob"
        ]


@pytest.fixture(scope="module")
def char_words():
    # One sequence at a time, and one that may wait: whatever a prompt asks for, it counts as one.
    with running_service(tiny_bundle("char"), "--max-running", "1", "--max-queue", "1") as service:
        yield Words(service, "char")


@pytest.fixture(scope="module")
def word_words():
    with running_service(tiny_bundle("word"), "--max-candidates", "300") as service:
        yield Words(service, "word")


@pytest.fixture(params=["bpe", "char", "word"])
def words(request):
    if request.param == "bpe":
        return Words(request.getfixturevalue("service"), "bpe")
    return request.getfixturevalue(f"{request.param}_words")


@pytest.fixture
def bpe(service):
    return Words(service, "bpe")


def test_score_of_two_parts_is_score_of_the_whole(words):
    rng = random.Random(1)
    for text in TEXTS:
        token_ids = words.tokenizer.encode(text)
        cut = rng.randrange(1, len(token_ids))
        first, second = token_ids[:cut], token_ids[cut:]
        whole = words.score(token_ids)
        parts = [words.score(first), words.score(second, context=first)]
        total = sum(part["total_logprob"] for part in parts)
        assert whole["total_logprob"] == pytest.approx(total, abs=1e-5 * len(token_ids))
        assert whole["scored_tokens"] == sum(part["scored_tokens"] for part in parts)
        assert whole["characters"] == len(text) - len(words.tokenizer.decode(token_ids[:1]))


def test_score_agrees_with_the_echo_of_completions(words):
    echo = words.service.complete(prompt=TEXTS[0], echo=True, logprobs=2, max_tokens=0)
    expected = echo["choices"][0]["logprobs"]
    score = words.score(TEXTS[0], top_logprobs=2)
    for name, values in expected.items():
        assert score["logprobs"][name] == values
    assert score["total_logprob"] == pytest.approx(math.fsum(expected["token_logprobs"][1:]))
    assert score["logprobs"]["ranks"][0] is None
    for rank, logprob, top in zip(
        score["logprobs"]["ranks"][1:],
        expected["token_logprobs"][1:],
        expected["top_logprobs"][1:],
        strict=True,
    ):
        assert (rank == 1) == (logprob == max(top.values()))


def test_what_score_counts(bpe):
    body = bpe.post("/v1/score", input=["a", "caf\u00e9"], score_first_token=True, per_token=False)
    ScoreAnswer.model_validate(body)
    entry = body["data"][1]
    assert (entry["characters"], entry["bytes"], entry["logprobs"]) == (4, 5, None)
    assert entry["bits_per_byte"] * 5 == pytest.approx(-entry["total_logprob"] / math.log(2))
    assert entry["perplexity"] == pytest.approx(math.exp(-entry["mean_logprob"]))
    nothing = bpe.score("a")
    assert nothing["total_logprob"] == 0.0
    assert (nothing["perplexity"], nothing["mean_logprob"], nothing["is_greedy"]) == (
        None, None, True,
    )  # fmt: skip
    assert bpe.score("")["logprobs"]["tokens"] == []
    opened = bpe.score("a", add_special_tokens=True)["logprobs"]
    assert opened["tokens"] == ["<|endoftext|>", "a"]
    assert opened["token_logprobs"] == [None, body["data"][0]["total_logprob"]]
    begun = bpe.score("a", add_special_tokens=True, score_first_token=True)["logprobs"]
    assert begun == opened  # the start of a document has no probability
    assert bpe.score("<|endoftext|>a", parse_special=False)["scored_tokens"] > 1


def test_score_reads_contexts_of_every_form(bpe):
    alone = [bpe.score(text, context="x")["total_logprob"] for text in ("ab", "cd")]
    one = bpe.post("/v1/score", input=["ab", "cd"], context="x")
    each = bpe.post("/v1/score", input=["ab", "cd"], context=["x", "x"])
    ids = bpe.post("/v1/score", input=["ab", "cd"], context=bpe.tokenizer.encode("x"))
    for body in (one, each, ids):
        assert [entry["total_logprob"] for entry in body["data"]] == alone
    assert bpe.score("ab", context=[])["total_logprob"] == bpe.score("ab")["total_logprob"]


def test_score_goes_on_from_a_state(bpe):
    first = bpe.score("In Italy", return_state=True)
    assert first["state_offset"] == 0
    second = bpe.score(", I had", state=first["state"])
    assert second["total_logprob"] == bpe.score(", I had", context="In Italy")["total_logprob"]


def test_next_words_are_whole_and_exactly_as_likely_as_their_tokens(words):
    fields = {"prompt": "In Italy", "unit": "word", "top_k": 12}
    (entry,) = words.post("/v1/next", **fields)["data"]
    vocab_size = words.tokenizer.vocab_size
    assert len(entry["top"]) == 12
    assert entry["coverage"] == pytest.approx(sum(item["probability"] for item in entry["top"]))
    prompt = words.tokenizer.encode("In Italy")
    for item in entry["top"]:
        assert is_word(item["text"].lstrip())
        assert item["token_id"] is None
        assert words.tokenizer.encode(item["text"]) == item["token_ids"]
        before = prompt + item["token_ids"]
        (behind,) = words.post("/v1/next", prompt=before, top_k=vocab_size)["data"]
        ended = sum(
            token["probability"]
            for token in behind["top"]
            if not is_word_character(token["text"][0]) and not token["text"].startswith("bytes:")
        )
        own = math.exp(words.logprob(item["token_ids"], prompt))
        if words.tokenizer.kind == "bpe":  # byte tokens, left out above, can end it too
            assert own * ended <= item["probability"] * (1 + 1e-5) <= own
        else:
            assert item["probability"] == pytest.approx(own * ended, rel=1e-4)
    probabilities = [item["probability"] for item in entry["top"]]
    assert probabilities == sorted(probabilities, reverse=True)


def test_candidates_are_scored_behind_the_prompt(words):
    candidates = [" Italian", " great time", " Italian", "\n"]
    body = words.post("/v1/next", prompt=["In Italy", ""], candidates=candidates)
    NextAnswer.model_validate(body)
    for prompt, entry in zip(["In Italy", ""], body["data"], strict=True):
        results = entry["candidates"]
        assert [result["text"] for result in results] == candidates
        before = words.tokenizer.encode(prompt)
        for result in results:
            expected = words.logprob(result["token_ids"], before)
            assert result["logprob"] == pytest.approx(expected, abs=1e-4)
            assert result["probability"] == pytest.approx(math.exp(result["logprob"]))
        assert sum(result["share"] for result in results) == pytest.approx(1)
        by_rank = sorted(results, key=lambda result: result["rank"])
        assert [result["rank"] for result in by_rank] == [1, 2, 3, 4]
        logprobs = [result["logprob"] for result in by_rank]
        assert logprobs == sorted(logprobs, reverse=True)
    ids = [list(words.tokenizer.encode(text)) for text in candidates]
    again = words.post("/v1/next", prompt="In Italy", candidates=ids)["data"][0]["candidates"]
    assert again == body["data"][0]["candidates"]


def test_fill_ranks_candidates_as_scoring_them_would(words):
    candidates = ["Italian", "great", "time", "walked"]
    body = words.post("/v1/fill", text=ITALY, candidates=candidates, top_n=50)
    FillAnswer.model_validate(body)
    assert body["pool_size"] == 4
    check_fill(words, body, "In Italy, I learnt some of the", " ", " language")
    assert {word["text"] for word in body["data"]} == set(candidates)
    for name in ("probability", "prior"):
        assert sum(word[name] for word in body["data"]) == pytest.approx(1)


def test_fill_searches_whole_words(words):
    for text, left, right in (
        (ITALY, "In Italy, I learnt some of the", " language"),
        ("One day ____", "One day", ""),
    ):
        body = words.post("/v1/fill", text=text, top_n=5, pool=30)
        assert body["pool_size"] <= 30
        check_fill(words, body, left, " ", right)
        assert 0 < body["prior_coverage"] <= 1
        assert body["filled"] == f"{left} {body['data'][0]['text']}{right}"


def check_fill(words, body, left, lead, right):
    before = words.tokenizer.encode(left)
    behind = words.tokenizer.encode(right)
    for rank, word in enumerate(body["data"], start=1):
        assert word["rank"] == rank
        assert is_word(word["text"])
        assert word["token_ids"] == words.tokenizer.encode(lead + word["text"])
        own = words.logprob(word["token_ids"], before)
        assert word["logprob_left"] == pytest.approx(own, abs=1e-4)
        if behind:
            expected = words.logprob(behind, before + word["token_ids"])
            assert word["logprob_right"] == pytest.approx(expected, abs=1e-4)
        assert word["logprob"] == pytest.approx(word["logprob_left"] + word["logprob_right"])
    for one, other in itertools.pairwise(body["data"]):
        ratio = math.exp(other["logprob"] - one["logprob"])
        assert other["probability"] == pytest.approx(one["probability"] * ratio)
        assert one["logprob"] >= other["logprob"]
        assert (one["prior"] > other["prior"]) == (one["prior_rank"] < other["prior_rank"])


def test_fill_takes_prefix_and_suffix_and_other_blanks(bpe):
    asked = {"candidates": ["great", "time"], "top_n": 2}
    data = bpe.post("/v1/fill", text="We had ____ talks", **asked)["data"]
    around = bpe.post("/v1/fill", prefix="We had ", suffix=" talks", **asked)
    assert around["data"] == data
    assert around["filled"] == f"We had {data[0]['text']} talks"
    other = bpe.post("/v1/fill", text="We had [?] talks", blank="[?]", **asked)
    assert other["data"] == data
    short = bpe.post("/v1/fill", text="We had ____ talks", max_right_tokens=0, **asked)["data"]
    assert [word["logprob_right"] for word in short] != [word["logprob_right"] for word in data]


def test_explain_scores_the_prompt_without_each_word(words):
    prompt = "In Italy, I learnt some of the"
    body = words.post("/v1/explain", prompt=prompt, target=" Italian")
    ExplainAnswer.model_validate(body)
    target = body["target"]["token_ids"]
    assert target == words.tokenizer.encode(" Italian")
    whole = words.logprob(target, words.tokenizer.encode(prompt))
    assert body["target"]["logprob"] == pytest.approx(whole, abs=1e-4)
    assert body["target"]["probability"] == pytest.approx(math.exp(body["target"]["logprob"]))
    rests = {
        "In": " Italy, I learnt some of the",
        "Italy": "In, I learnt some of the",
        "I": "In Italy, learnt some of the",
        "learnt": "In Italy, I some of the",
        "some": "In Italy, I learnt of the",
        "of": "In Italy, I learnt some the",
        "the": "In Italy, I learnt some of",
    }
    assert [entry["text"] for entry in body["contributions"]] == list(rests)
    for entry in body["contributions"]:
        assert prompt[entry["start"] : entry["end"]] == entry["text"]
        rest = words.tokenizer.encode(rests[entry["text"]])
        assert entry["logprob_without"] == pytest.approx(words.logprob(target, rest), abs=1e-4)
        assert entry["delta"] == pytest.approx(whole - entry["logprob_without"], abs=1e-4)
    deltas = [body["contributions"][index]["delta"] for index in body["ranking"]]
    assert deltas == sorted(deltas, reverse=True)
    support = sum(max(delta, 0) for delta in deltas)
    for entry in body["contributions"]:
        assert entry["share"] == pytest.approx(max(entry["delta"], 0) / support if support else 0)
    last = words.post("/v1/explain", prompt=prompt, target=" Italian", max_units=2)
    assert [entry["text"] for entry in last["contributions"]] == list(rests)[-2:]
    assert [entry["index"] for entry in last["contributions"]] == [0, 1]


def test_explain_by_tokens(words):
    token_ids = list(words.tokenizer.encode("In Italy, I"))
    fields = {"unit": "token", "target": [token_ids[0]]}
    body = words.post("/v1/explain", prompt=token_ids, **fields)
    assert "".join(entry["text"] for entry in body["contributions"]) == "In Italy, I"
    for index, entry in enumerate(body["contributions"]):
        assert "In Italy, I"[entry["start"] : entry["end"]] == entry["text"]
        rest = token_ids[:index] + token_ids[index + 1 :]
        expected = words.logprob(token_ids[:1], rest)
        assert entry["logprob_without"] == pytest.approx(expected, abs=1e-4)


def test_explain_chooses_the_most_likely_target(words):
    for unit in ("word", "token"):
        body = words.post("/v1/explain", prompt="In Italy", unit=unit, max_units=2)
        (entry,) = words.post("/v1/next", prompt="In Italy", unit=unit, top_k=1)["data"]
        assert body["target"]["token_ids"] == entry["top"][0]["token_ids"]
        assert len(body["contributions"]) <= 2
    assert body["unit"] == "token"
    assert words.post("/v1/explain", prompt="")["contributions"] == []


def test_embeddings_through_the_openai_client(words):
    with openai.OpenAI(base_url=f"{words.service.url}/v1", api_key="none") as client:
        (first,) = client.embeddings.create(model=words.tokenizer.kind, input="In Italy").data
        plain = client.embeddings.create(
            model=words.tokenizer.kind, input="In Italy", encoding_format="float"
        )
    EmbeddingsAnswer.model_validate(plain.model_dump())
    np.testing.assert_array_equal(np.float32(first.embedding), np.float32(plain.data[0].embedding))
    assert np.linalg.norm(first.embedding) == pytest.approx(1, abs=1e-6)
    assert plain.usage.prompt_tokens == len(words.tokenizer.encode("In Italy"))


def test_embeddings_pool_hidden_states(bpe):
    dimensions = bpe.service.get("/v1/models").json()["data"][0]["embedding_dimensions"]
    texts = ["I", "In Italy, I had"]

    def vectors(**fields):
        data = bpe.post("/v1/embeddings", normalize=False, dimensions=dimensions, **fields)["data"]
        assert [entry["index"] for entry in data] == list(range(len(data)))
        return [np.array(entry["embedding"]) for entry in data]

    means = vectors(input=texts)
    token_ids = bpe.tokenizer.encode(texts[1])
    prefixes = [token_ids[: end + 1] for end in range(len(token_ids))]
    last = vectors(input=prefixes, pooling="last")
    np.testing.assert_allclose(means[1], np.mean(last, axis=0), atol=1e-6)
    (state,) = bpe.post("/v1/next", prompt=texts[1], return_state=True)["data"]
    payload = base64.urlsafe_b64decode(state["state"].split(".")[1] + "==")
    hidden = np.frombuffer(payload[-4 * dimensions :], "<f4")  # one layer, of which h is all
    np.testing.assert_allclose(last[-1], hidden, atol=1e-7)
    encoded = bpe.post("/v1/embeddings", input=texts[1], encoding_format="base64", pooling="last")
    raw = np.frombuffer(base64.b64decode(encoded["data"][0]["embedding"]), "<f4")
    np.testing.assert_allclose(raw, last[-1] / np.linalg.norm(last[-1]), atol=1e-6)


def test_usage_tells_what_was_not_read_again(bpe):
    """Of what is only read; tokens whose own probability is told are read every time."""
    text = "As we talked and walked in Italy, a great café"
    num_tokens = len(bpe.tokenizer.encode(text))
    only_read = [
        ("/v1/score", {"input": "!", "context": text}, num_tokens),
        ("/v1/fill", {"text": f"{text} ____", "candidates": ["time"]}, num_tokens),
        ("/v1/explain", {"prompt": text, "target": "!", "max_units": 1}, num_tokens // 2),
        ("/v1/next", {"prompt": text}, 1),
    ]
    for path, fields, at_least in only_read:
        bpe.post(path, **fields)
        for _ in range(20):  # any engine may answer, and each has a cache of its own
            usage = bpe.post(path, **fields)["usage"]
            cached = usage["prompt_tokens_details"]["cached_tokens"]
            if cached >= at_least:
                break
        assert at_least <= cached <= usage["prompt_tokens"], path
        assert usage["prompt_tokens"] >= num_tokens


WRONG = [
    ("/v1/next", {"candidates": [""]}, "invalid_value", "candidates[0]"),
    ("/v1/next", {"candidates": [[]]}, "invalid_value", "candidates[0]"),
    ("/v1/next", {"candidates": ["x" * 1025]}, "invalid_value", "candidates[0]"),
    ("/v1/next", {"candidates": [["x"]]}, "invalid_type", "candidates[0][0]"),
    ("/v1/next", {"candidates": [[9999]]}, "invalid_token_id", "candidates[0][0]"),
    ("/v1/next", {"candidates": "x"}, "invalid_type", "candidates"),
    ("/v1/next", {"candidates": ["x"] * 2001}, "invalid_value", "candidates"),
    ("/v1/next", {"unit": "letter"}, "invalid_value", "unit"),
    ("/v1/score", {}, "missing_parameter", "input"),
    ("/v1/score", {"input": []}, "invalid_value", "input"),
    ("/v1/score", {"input": ["a", "b"], "context": ["x"]}, "invalid_value", "context"),
    ("/v1/score", {"input": "a", "top_logprobs": 21}, "invalid_value", "top_logprobs"),
    ("/v1/score", {"input": "a", "context": [9999]}, "invalid_token_id", "context[0]"),
    (
        "/v1/score",
        {"input": "a", "state": "x", "add_special_tokens": True},
        "invalid_value",
        "add_special_tokens",
    ),
    ("/v1/fill", {}, "missing_parameter", "text"),
    ("/v1/fill", {"text": "no blank ___"}, "invalid_value", "text"),
    ("/v1/fill", {"text": "two ____ and ____"}, "invalid_value", "text"),
    ("/v1/fill", {"text": "a ____", "suffix": "b"}, "invalid_value", "suffix"),
    ("/v1/fill", {"text": "a ____", "top_n": 51}, "invalid_value", "top_n"),
    ("/v1/fill", {"text": "a ____", "pool": 0}, "invalid_value", "pool"),
    ("/v1/fill", {"text": "a ____", "max_right_tokens": 513}, "invalid_value", "max_right_tokens"),
    ("/v1/fill", {"text": "a ____", "blank": ""}, "invalid_value", "blank"),
    ("/v1/fill", {"text": "a ____", "candidates": [[1]]}, "invalid_type", "candidates[0]"),
    ("/v1/fill", {"prefix": ["a"]}, "invalid_type", "prefix"),
    ("/v1/explain", {}, "missing_parameter", "prompt"),
    ("/v1/explain", {"prompt": ["a"]}, "invalid_type", "prompt"),
    ("/v1/explain", {"prompt": []}, "invalid_value", "prompt"),
    ("/v1/explain", {"prompt": "a", "target": ""}, "invalid_value", "target"),
    ("/v1/explain", {"prompt": "a", "method": "magic"}, "invalid_value", "method"),
    ("/v1/explain", {"prompt": "a", "max_units": 513}, "invalid_value", "max_units"),
    ("/v1/embeddings", {}, "missing_parameter", "input"),
    ("/v1/embeddings", {"input": ""}, "invalid_value", "input"),
    ("/v1/embeddings", {"input": ["a", ""]}, "invalid_value", "input[1]"),
    ("/v1/embeddings", {"input": [[]]}, "invalid_value", "input[0]"),
    ("/v1/embeddings", {"input": "a", "dimensions": 5}, "invalid_value", "dimensions"),
    (
        "/v1/embeddings",
        {"input": "a", "encoding_format": "hex"},
        "invalid_value",
        "encoding_format",
    ),
    ("/v1/embeddings", {"input": "a", "pooling": "max"}, "invalid_value", "pooling"),
]


@pytest.mark.parametrize(("path", "fields", "code", "param"), WRONG)
def test_wrong_fields_are_named(service, path, fields, code, param):
    answer = service.post(path, fields)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == (code, param)


@pytest.mark.parametrize(
    ("path", "field", "extra"),
    [
        ("/v1/score", "input", {}),
        ("/v1/score", "context", {"input": "a"}),
        ("/v1/fill", "text", {}),
        ("/v1/fill", "prefix", {}),
        ("/v1/fill", "suffix", {}),
        ("/v1/explain", "prompt", {}),
        ("/v1/explain", "target", {"prompt": "a"}),
        ("/v1/embeddings", "input", {}),
    ],
)
def test_texts_too_long_are_refused(char_words, path, field, extra):
    text = ("____ " if field == "text" else "") + "In Italy " * 4000
    answer = char_words.service.post(path, {field: text, **extra})
    assert answer.status_code == 400
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("context_length_exceeded", field)


def test_limits_of_the_service_bound_a_pool(word_words):
    assert word_words.post("/v1/fill", text="a ____", pool=300, top_n=1)["pool_size"] > 1
    answer = word_words.service.post("/v1/fill", {"text": "a ____", "pool": 301})
    assert answer.json()["error"]["param"] == "pool"


def test_a_fill_ends_when_its_client_goes(char_words):
    """And while it runs it is one sequence, however many words it compares."""
    service = char_words.service

    def cancelled():
        lines = service.get("/metrics").text.splitlines()
        values = [line for line in lines if line.startswith("foretoken_requests_cancelled_total")]
        return sum(float(line.rsplit(" ", 1)[1]) for line in values)

    before = cancelled()
    candidates = ["".join(letters) for letters in itertools.permutations("walkedin", 4)][:1600]
    body = {"text": "a ____" + " had a great time" * 40, "candidates": candidates}
    body |= {"max_right_tokens": 512}
    with pytest.raises(requests.exceptions.ReadTimeout):
        requests.post(f"{service.url}/v1/fill", json=body, timeout=0.5)
    wait_until(lambda: cancelled() > before, "the fill is cancelled")
    wait_until(lambda: service.load() == (0, 0), "its place is free")


# What one request may ask for, and what it may do to others.


@pytest.mark.parametrize(
    ("path", "fields", "param"),
    [
        ("/v1/next", {"prompt": ["a"] * 128, "candidates": ["x." * 512] * 64}, "candidates"),
        ("/v1/explain", {"prompt": "a." * 256 + "." * 30_000, "target": "b"}, "max_units"),
    ],
)
def test_work_beyond_all_time_limits_is_refused_at_once(bpe, path, fields, param):
    answer = bpe.service.post(path, fields)
    assert answer.status_code == 400, answer.text
    error = answer.json()["error"]
    assert (error["code"], error["param"]) == ("invalid_value", param)
    assert "4194304" in error["message"]


@pytest.fixture(scope="module")
def hurried():
    """A service that gives up after a second."""
    with running_service(tiny_bundle(), "--request-timeout-s", "1") as service:
        yield service


HEAVY = {
    "/v1/fill": {"text": "a ____ b" + " c" * 600, "pool": 2000, "max_right_tokens": 512},
    "/v1/explain": {"prompt": "In Italy, " * 3000, "target": "!", "max_units": 512},
    "/v1/score": {"input": ["One day " * 3000] * 64},
}


@pytest.mark.parametrize("path", HEAVY)
def test_heavy_work_ends_with_its_time_and_frees_everything(hurried, path):
    answer = hurried.post(path, HEAVY[path])
    assert answer.status_code == 504, answer.text
    assert answer.json()["error"]["code"] == "request_timeout"
    assert answer.headers["x-should-retry"] == "false"
    wait_until(lambda: hurried.load() == (0, 0), "the engine is free")
