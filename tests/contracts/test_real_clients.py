"""Clients that others wrote, unmodified: each must take the service for the one it was made for."""

import asyncio
import base64
import shutil
import struct
import subprocess

import openai
import pytest
from langchain_openai import OpenAI as LangchainOpenAI

FIELDS = {"model": "bpe", "prompt": "One day", "max_tokens": 12, "seed": 7, "temperature": 1.0}


@pytest.fixture(scope="module")
def client(service):
    with openai.OpenAI(base_url=service.url + "/v1", api_key="none", max_retries=0) as client:
        yield client


def test_openai_completion(client):
    answer = client.completions.create(**FIELDS, n=2, logprobs=3, echo=True)
    assert answer.object == "text_completion"
    assert [choice.index for choice in answer.choices] == [0, 1]
    for choice in answer.choices:
        logprobs = choice.logprobs
        assert choice.text.startswith("One day")
        assert choice.finish_reason in ("stop", "length")
        assert len(logprobs.tokens) == len(logprobs.token_logprobs) == len(logprobs.text_offset)
        assert logprobs.token_logprobs[0] is logprobs.top_logprobs[0] is None
        assert all(max(top.values()) <= 0 for top in logprobs.top_logprobs[1:])
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.usage.completion_tokens <= 24
    assert answer.system_fingerprint.startswith("fp_")
    assert answer._request_id


def test_openai_stream_joins_to_the_plain_answer(client):
    plain = client.completions.create(**FIELDS, logprobs=1)
    with client.completions.create(
        **FIELDS, logprobs=1, stream=True, stream_options={"include_usage": True}
    ) as stream:
        *chunks, last = stream
    choices = [chunk.choices[0] for chunk in chunks]
    assert "".join(choice.text for choice in choices) == plain.choices[0].text
    tokens = [token for choice in choices if choice.logprobs for token in choice.logprobs.tokens]
    assert tokens == plain.choices[0].logprobs.tokens
    assert [choice.finish_reason for choice in choices[:-1]] == [None] * (len(choices) - 1)
    assert choices[-1].finish_reason == plain.choices[0].finish_reason
    assert last.choices == []
    for name in ("prompt_tokens", "completion_tokens", "total_tokens"):
        assert getattr(last.usage, name) == getattr(plain.usage, name)


def test_openai_cached_tokens(client):
    """What was read for an earlier request is not read again, and the usage says so."""
    begun = list(range(3, 123))
    fields = FIELDS | {"prompt": begun, "n": 2, "best_of": 20}  # enough for every engine to read
    first, again = (client.completions.create(**fields).usage for _ in range(2))
    assert (first.prompt_tokens, first.prompt_tokens_details.cached_tokens) == (120, 0)
    assert again.prompt_tokens_details.cached_tokens == 120
    with client.completions.create(
        **FIELDS | {"prompt": [[*begun, 7, 8], [9, *begun]]},
        stream=True,
        stream_options={"include_usage": True},
    ) as stream:
        *_, last = stream
    assert last.usage.prompt_tokens == 243
    assert last.usage.prompt_tokens_details.cached_tokens == 120


def test_openai_async_many_at_once(service, client):
    plain = client.completions.create(**FIELDS).choices[0].text

    async def stream(asynchronous):
        chunks = await asynchronous.completions.create(**FIELDS, stream=True)
        return "".join([chunk.choices[0].text async for chunk in chunks])

    async def all_at_once():
        async with openai.AsyncOpenAI(
            base_url=service.url + "/v1", api_key="none", max_retries=0
        ) as asynchronous:
            answers = [asynchronous.completions.create(**FIELDS) for _ in range(8)]
            streams = [stream(asynchronous) for _ in range(8)]
            return await asyncio.gather(*answers), await asyncio.gather(*streams)

    answers, streams = asyncio.run(all_at_once())
    assert {answer.choices[0].text for answer in answers} | set(streams) == {plain}


def test_openai_a_stream_may_be_left(client):
    with client.completions.create(
        **FIELDS | {"max_tokens": 4096}, stream=True, extra_body={"ignore_eos": True}
    ) as stream:
        next(iter(stream))
    assert client.completions.create(**FIELDS).choices[0].text


@pytest.mark.parametrize(
    ("fields", "kind", "code", "param"),
    [
        ({"temperature": 3}, openai.BadRequestError, "invalid_value", "temperature"),
        ({"prompt": [[1], [999]]}, openai.BadRequestError, "invalid_token_id", "prompt[1][0]"),
        ({"model": "no"}, openai.NotFoundError, "model_not_found", "model"),
        (
            {"extra_body": {"state": "fts1.x.y"}},
            openai.UnprocessableEntityError,
            "invalid_state",
            "state",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_openai_errors_are_of_its_classes(client, fields, kind, code, param, stream):
    with pytest.raises(kind) as caught:
        client.completions.create(**FIELDS | fields, stream=stream)
    assert (caught.value.code, caught.value.param) == (code, param)
    assert caught.value.type == "invalid_request_error"
    assert caught.value.request_id


def test_openai_chat_is_not_here(client):
    with pytest.raises(openai.NotFoundError, match="/v1/completions"):
        client.chat.completions.create(model="bpe", messages=[{"role": "user", "content": "a"}])


def test_openai_models(client):
    assert [model.id for model in client.models.list()] == ["bpe"]
    assert client.models.retrieve("bpe").owned_by == "foretoken"
    with pytest.raises(openai.NotFoundError):
        client.models.retrieve("no")


def test_openai_embeddings(client):
    texts = ["One day", "walked", "日本語"]
    by_default = client.embeddings.create(model="bpe", input=texts)  # asks for base64 itself
    floats = client.embeddings.create(model="bpe", input=texts, encoding_format="float")
    raw = client.embeddings.create(model="bpe", input=texts, encoding_format="base64")
    assert [item.index for item in by_default.data] == [0, 1, 2]
    for one, two, encoded in zip(by_default.data, floats.data, raw.data, strict=True):
        assert one.embedding == pytest.approx(two.embedding, abs=1e-7)
        assert len(one.embedding) == 16
        assert sum(x * x for x in one.embedding) == pytest.approx(1, abs=1e-5)
        packed = base64.b64decode(encoded.embedding)
        assert list(struct.unpack("<16f", packed)) == pytest.approx(one.embedding, abs=1e-7)
    assert by_default.usage.prompt_tokens == by_default.usage.total_tokens > 0


@pytest.fixture(scope="module")
def langchain(service):
    return LangchainOpenAI(
        base_url=service.url + "/v1",
        api_key="none",
        model="bpe",
        max_tokens=12,
        temperature=1.0,
        max_retries=0,
        seed=7,
        n=2,
        best_of=2,
    )


def test_langchain_generate_cuts_the_choices_up_by_prompt(langchain, client):
    prompts = [f"One day {number}" for number in range(25)]  # more than it sends at once
    result = langchain.generate(prompts)
    for prompt, generations in zip(prompts, result.generations, strict=True):
        alone = client.completions.create(**FIELDS | {"prompt": prompt}, n=2)
        assert [one.text for one in generations] == [one.text for one in alone.choices]
        assert [one.generation_info["finish_reason"] for one in generations] == [
            one.finish_reason for one in alone.choices
        ]
    assert result.llm_output["token_usage"]["completion_tokens"] > 0


def test_langchain_stream(langchain, client):
    plain = client.completions.create(**FIELDS).choices[0]
    one = langchain.model_copy(update={"n": 1, "best_of": 1})
    assert "".join(one.stream("One day")) == plain.text
    (generation,) = one.model_copy(update={"streaming": True}).generate(["One day"]).generations
    assert generation[0].text == plain.text
    assert generation[0].generation_info["finish_reason"] == plain.finish_reason


def test_langchain_stop(langchain):
    one = langchain.model_copy(update={"n": 1, "best_of": 1, "temperature": 0})
    whole = one.invoke("One day")
    assert one.invoke("One day", stop=[whole[3:5]]) == whole[: whole.index(whole[3:5])]


def test_promtool_takes_the_metrics(service):
    if not (promtool := shutil.which("promtool")):
        pytest.skip("promtool is not installed; it comes with Debian's package prometheus")
    checked = subprocess.run(
        [promtool, "check", "metrics"],
        input=service.get("/metrics").content,
        capture_output=True,
        check=False,
    )
    assert checked.returncode == 0, checked.stderr.decode()
