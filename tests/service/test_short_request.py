"""Whether a request is answered by a fibre or by a thread makes no difference to its answer."""

import json
import threading

import pytest
import requests
from running_service import PATIENCE_SECONDS

from service.short_request import is_short

_CHANGING = ("id", "created")


def request_of(path, body):
    return f"POST {path} HTTP/1.1\r\nHost: x\r\n\r\n{json.dumps(body)}".encode()


@pytest.mark.parametrize(
    ("path", "body", "short"),
    [
        ("/v1/completions", {"prompt": "In", "max_tokens": 5}, True),
        ("/v1/completions", {"prompt": 'say "n"', "stream": True}, True),
        ("/v1/completions", {"prompt": "In", "n": 3}, False),
        ("/v1/completions", {"prompt": "In", "logprobs": 2}, False),
        ("/v1/completions", {"prompt": "In", "suffix": "x"}, False),
        ("/v1/completions", {"prompt": "In " * 2000}, False),
        ("/v1/next", {"prompt": "In"}, True),
        ("/v1/next", {"prompt": "In", "unit": "word"}, False),
        ("/v1/tokenize", {"prompt": "In"}, True),
        ("/v1/score", {"text": "In"}, True),
        ("/v1/fill", {"text": "In ____"}, False),
        ("/v1/explain", {"prompt": "In"}, False),
        ("/admin/reload", {}, False),
    ],
)
def test_what_may_take_long_is_left_to_threads(path, body, short):
    assert is_short(request_of(path, body)) == short


def test_so_are_other_methods():
    assert not is_short(b"GET /v1/completions HTTP/1.1\r\nHost: x\r\n\r\n")


def both_ways(service, path, body):
    """The answers to a plain request and to one that is sent in chunks, which gets a thread."""
    data = json.dumps(body).encode()
    headers = {"Content-Type": "application/json"}
    answers = []
    for sent in (data, iter([data])):
        answer = requests.post(
            service.url + path, data=sent, headers=headers, timeout=PATIENCE_SECONDS
        )
        answers.append(answer)
    return answers


def told(answer):
    """Status and JSON, or events, but for what differs between any two answers."""
    lines = [line.removeprefix("data: ") for line in answer.text.splitlines() if line.strip()]
    values = [json.loads(line) for line in lines if line != "[DONE]"]
    for value in values:
        for name in _CHANGING:
            value.pop(name, None)
        # What was read before is not read again.
        value.get("usage", {}).pop("prompt_tokens_details", None)
    return answer.status_code, values


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/completions", {"prompt": "In", "max_tokens": 20, "seed": 4}),
        ("/v1/completions", {"prompt": ["In", "Out"], "max_tokens": 9, "seed": 4, "stop": ["e"]}),
        ("/v1/completions", {"prompt": "In", "max_tokens": 7, "seed": 4, "echo": False}),
        ("/v1/completions", {"prompt": "In", "max_tokens": -1}),
        ("/v1/completions", {"prompt": "In", "model": "none"}),
        ("/v1/completions", {"prompt": 3.5}),
        ("/v1/next", {"prompt": "In the", "top_k": 5}),
        ("/v1/next", {"prompt": ["In", "Out of"], "temperature": 0.5}),
        ("/v1/next", {"prompt": "In", "top_k": 0}),
        ("/v1/score", {"text": "In the house"}),
        ("/v1/embeddings", {"input": "In the house"}),
        ("/v1/tokenize", {"prompt": "In the house"}),
        ("/v1/detokenize", {"tokens": [5, 6, 7]}),
    ],
    ids=str,
)
def test_both_ways_give_the_same_answer(service, path, body):
    fibre, thread = both_ways(service, path, body)
    assert told(fibre) == told(thread)
    named = [
        {name for name in answer.headers if name not in ("Date", "Content-Length")}
        for answer in (fibre, thread)
    ]
    assert named[0] == named[1]


def test_both_ways_stream_the_same_text(service):
    body = {"prompt": "In", "max_tokens": 60, "seed": 8, "stream": True}
    texts = [
        "".join(event["choices"][0]["text"] for event in told(answer)[1])
        for answer in both_ways(service, "/v1/completions", body)
    ]
    assert texts[0] == texts[1] != ""


def test_many_of_both_kinds_side_by_side(service):
    """Fibres, threads and streams at the same time: each gets its own answer."""
    bodies = [
        {"prompt": f"{number} In", "max_tokens": 10 + number, "seed": number}
        for number in range(24)
    ]
    alone = [told(both_ways(service, "/v1/completions", body)[0]) for body in bodies]
    together: list[object] = [None] * len(bodies)

    def ask(number):
        answers = both_ways(service, "/v1/completions", bodies[number])
        together[number] = [told(answer) for answer in answers]

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(bodies))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together == [[answer, answer] for answer in alone]
