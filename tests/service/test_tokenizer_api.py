"""``tokenize``, ``detokenize`` and ``tokenizer_info`` over real HTTP."""

import random

import pytest
from tiny_bundle import TEXTS, tiny_bundle

from model.tokenizers import Tokenizer

KINDS = ("bpe", "char", "word")
#: A vocabulary of bytes covers any text; the others cover what they were trained on.
ANY_TEXT = (
    "",
    "\0\x1b\r\n",
    "\u0928\u092e\u0938\u094d\u0924\u0947",
    "\U0001f468\u200d\U0001f469",
    "x" * 999,
)


@pytest.fixture
def call(service_of_all_kinds):
    """Posts to an endpoint; the answer must be 200."""

    def post(path, **fields):
        answer = service_of_all_kinds.post(path, fields)
        assert answer.status_code == 200, answer.text
        return answer.json()

    return post


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_tokenized_is_detokenized(call, kind, prefix):
    generator = random.Random(kind)
    texts = [*TEXTS, "".join(generator.choices(TEXTS, k=3)), *(ANY_TEXT if kind == "bpe" else ())]
    answer = call(f"{prefix}/tokenize", model=kind, prompt=texts)
    assert answer["count"] == sum(map(len, answer["tokens"]))
    for text, tokens in zip(texts, answer["tokens"], strict=True):
        written = call(f"{prefix}/detokenize", model=kind, tokens=tokens)
        assert written == {"prompt": text, "content": text}


@pytest.mark.parametrize("kind", KINDS)
def test_one_text(service_of_all_kinds, call, kind):
    body = call("/v1/tokenize", model=kind, prompt=TEXTS[1])
    assert list(body) == ["tokens", "count", "max_model_len", "token_strs"]
    assert body["count"] == len(body["tokens"])
    assert body["token_strs"] is None
    model = service_of_all_kinds.get(f"/v1/models/{kind}").json()
    assert body["max_model_len"] == model["max_model_len"]
    assert call("/v1/tokenize", model=kind, content=TEXTS[1], prompt=None) == body
    completion = call(
        "/v1/completions", model=kind, prompt=TEXTS[1], max_tokens=0, return_token_ids=True
    )
    assert completion["choices"][0]["prompt_token_ids"] == body["tokens"]


def test_token_strs_are_those_of_logprobs(call):
    text = "The caf\u00e9 \u65e5<|endoftext|>"
    body = call("/tokenize", model="bpe", prompt=[text, "a"], return_token_strs=True)
    fields = {"echo": True, "logprobs": 0, "max_tokens": 0}
    completion = call("/v1/completions", model="bpe", prompt=text, **fields)
    assert body["token_strs"] == [completion["choices"][0]["logprobs"]["tokens"], ["a"]]
    assert "<|endoftext|>" in body["token_strs"][0]


def test_special_tokens(call):
    text = "a<|endoftext|>"
    parsed = call("/tokenize", model="bpe", prompt=text)["tokens"]
    assert parsed[-1] == 0
    plain = call("/tokenize", model="bpe", prompt=text, parse_special=False)["tokens"]
    assert 0 not in plain
    begun = call("/tokenize", model="bpe", prompt=text, add_special_tokens=True)["tokens"]
    assert begun == [0, *parsed]
    assert call("/tokenize", model="bpe", prompt="", add_special_tokens=True)["tokens"] == [0]
    assert call("/detokenize", model="bpe", tokens=parsed)["prompt"] == text
    skipped = call("/detokenize", model="bpe", tokens=parsed, skip_special_tokens=True)
    assert skipped["content"] == "a"


def test_unknown_text_is_no_error(call):
    (token_id,) = call("/tokenize", model="char", prompt="\u0e01")["tokens"]
    assert call("/detokenize", model="char", tokens=[token_id])["prompt"] == "<|unk|>"


def test_bytes_that_are_no_text(call):
    tokens = call("/tokenize", model="bpe", prompt="\u20ac")["tokens"]
    assert call("/detokenize", model="bpe", tokens=tokens[:2])["prompt"] == "\ufffd"


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("path", ["/tokenizer_info", "/v1/tokenizer_info"])
def test_tokenizer_info(service_of_all_kinds, call, kind, path):
    answer = service_of_all_kinds.get(path, params={"model": kind})
    assert (answer.headers.get("foretoken-model") == f"{kind}@1") == path.startswith("/v1")
    info = answer.json()
    assert list(info) == [
        "tokenizer_class", "kind", "vocab_size", "bos_token", "eos_token", "unk_token",
        "pad_token", "bos_token_id", "eos_token_id", "model_max_length", "chat_template", "digest",
    ]  # fmt: skip
    model = service_of_all_kinds.get(f"/v1/models/{kind}").json()
    assert {name: info[name] for name in ("kind", "vocab_size")} == model["tokenizer"]
    assert info["model_max_length"] == model["max_model_len"]
    assert info["unk_token"] == (None if kind == "bpe" else "<|unk|>")
    for name in ("bos", "eos"):
        token_ids = call("/tokenize", model=kind, prompt=info[f"{name}_token"])["tokens"]
        assert token_ids == [info[f"{name}_token_id"]]


def test_the_digest_is_that_of_the_tokenizer(service):
    tokenizer = Tokenizer.load(tiny_bundle() / "1" / "tokenizer.json")
    assert service.get("/v1/tokenizer_info").json()["digest"] == tokenizer.digest


@pytest.mark.parametrize(
    ("path", "body", "code", "param"),
    [
        ("/tokenize", {}, "missing_parameter", "prompt"),
        ("/tokenize", {"prompt": None}, "missing_parameter", "prompt"),
        ("/tokenize", {"prompt": "a", "content": "a"}, "invalid_value", "content"),
        ("/tokenize", {"prompt": []}, "invalid_value", "prompt"),
        ("/tokenize", {"prompt": [3]}, "invalid_type", "prompt[0]"),
        ("/tokenize", {"content": ["a", None]}, "invalid_type", "content[1]"),
        ("/tokenize", {"prompt": 3}, "invalid_type", "prompt"),
        ("/tokenize", {"prompt": "a", "return_token_strs": 1}, "invalid_type", "return_token_strs"),
        ("/tokenize", {"prompt": "a", "model": "none"}, "model_not_found", "model"),
        ("/detokenize", {}, "missing_parameter", "tokens"),
        ("/detokenize", {"tokens": 3}, "invalid_type", "tokens"),
        ("/detokenize", {"tokens": [1, "2"]}, "invalid_type", "tokens[1]"),
        ("/detokenize", {"tokens": [1, True]}, "invalid_type", "tokens[1]"),
        ("/detokenize", {"tokens": [1, 2.5]}, "invalid_type", "tokens[1]"),
        ("/detokenize", {"tokens": [[1]]}, "invalid_type", "tokens[0]"),
        ("/detokenize", {"tokens": [1, 300]}, "invalid_token_id", "tokens[1]"),
        ("/detokenize", {"tokens": [-1]}, "invalid_token_id", "tokens[0]"),
        ("/detokenize", {"tokens": [10**30]}, "invalid_token_id", "tokens[0]"),
    ],
)
def test_refusals(service, path, body, code, param):
    for prefix in ("", "/v1"):
        answer = service.post(prefix + path, body)
        error = answer.json()["error"]
        assert (error["code"], error["param"]) == (code, param)
        assert answer.status_code == (404 if code == "model_not_found" else 400)


def test_any_number_of_texts(service):
    body = service.post("/tokenize", {"prompt": ["a"] * 1000}).json()
    assert body["tokens"] == [[65]] * 1000


def test_whole_numbers_may_be_written_with_a_point(service):
    assert service.post("/detokenize", {"tokens": [65.0, 66]}).json()["prompt"] == "ab"
