"""The same request, seed and bundle give the same tokens, text and logprobs, to the last bit.

Asked alone, of a service that does nothing else; and in random order among hundreds of others, of
one with two engines and two workers, streamed or not, with prompts that share beginnings, so that
they come out of the cache of states at one time and are read in pieces beside others at another.
"""

import contextlib
import random
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import event_stream
import pytest
import requests
from running_service import PATIENCE_SECONDS, RunningService, running_service
from tiny_bundle import tiny_bundle

NUM_REQUESTS = 120
TIMES_ASKED = 3
NUM_CLIENTS = 24
NUM_ENGINES, PLACES_OF_AN_ENGINE = 2, 6
TEXT = "In Italy I had a great time and learnt some of the language café naïve — € 日本語"

Body = dict[str, Any]


@pytest.fixture(scope="module")
def busy_service() -> Iterator[RunningService]:
    """Few places, so that requests wait too and batches are of every size."""
    places = ("--max-running", str(NUM_ENGINES * PLACES_OF_AN_ENGINE))
    engines = ("--engines", str(NUM_ENGINES), "--engine-threads-alone", "2")
    with running_service(tiny_bundle(), *engines, "--workers", "2", *places) as service:
        yield service


def random_text(rng: random.Random, num_words: int) -> str:
    return " ".join(rng.choice(TEXT.split()) for _ in range(num_words))


def random_prompt(rng: random.Random, stems: list[str]) -> Any:
    def one() -> str:
        stem = rng.choice(stems)
        text = stem[: rng.choice([0, 9, 200, len(stem)])]
        return text + random_text(rng, rng.choice([0, 1, 4, 30]))

    ids = [rng.randrange(2, 290) for _ in range(rng.choice([1, 7, 64, 65, 150]))]
    return rng.choice([one(), one(), one(), ids, [one(), one()], [ids, ids[:3]]])


def random_completion(rng: random.Random, stems: list[str]) -> Body:
    """Anything a client may ask ``/v1/completions`` for that depends on the seed alone."""
    n = rng.choice([1, 1, 1, 2])
    body = {
        "prompt": random_prompt(rng, stems),
        "max_tokens": rng.choice([0, 1, 5, 16, 16, 40]),
        "seed": rng.randrange(1000),
        "n": n,
        "temperature": rng.choice([0, 0.7, 1, 1.3]),
        "top_p": rng.choice([1, 1, 0.95, 0.3]),
        "top_k": rng.choice([0, 0, 40, 3]),
        "min_p": rng.choice([0, 0, 0.05]),
        "typical_p": rng.choice([1, 1, 1, 0.8]),
        "repetition_penalty": rng.choice([1, 1, 1.2]),
        "frequency_penalty": rng.choice([0, 0, 0.5]),
        "presence_penalty": rng.choice([0, 0, -0.5]),
        "logit_bias": rng.choice([None, None, {"30": 3, "31": -100}]),
        "logprobs": rng.choice([None, 0, 2, 5]),
        "echo": rng.random() < 0.3,
        "stop": rng.choice([None, None, ["a", "lang"], "é"]),
        "stop_token_ids": rng.choice([None, None, [40, 41, 42]]),
        "min_tokens": 0,
        "ignore_eos": rng.random() < 0.3,
        "return_token_ids": True,
    }
    if not body["echo"] and rng.random() < 0.15:
        body["best_of"] = n + 2
    return body


def random_request(rng: random.Random, stems: list[str]) -> tuple[str, Body]:
    if rng.random() < 0.8:
        return "/v1/completions", random_completion(rng, stems)
    prompt = random_prompt(rng, stems)
    if rng.random() < 0.5:
        return "/v1/next", {"prompt": prompt, "top_k": 7}
    return "/v1/score", {"input": prompt, "top_logprobs": 2, "score_first_token": True}


def answer_of(session: requests.Session, url: str, path: str, body: Body) -> Body:
    """What the promise is about: not the answer's id and time, or what came from the cache."""
    response = session.post(url + path, json=body, timeout=PATIENCE_SECONDS)
    assert response.status_code == 200, (response.text, body)
    if body.get("stream"):
        chunks = event_stream.read(response)
        answer = chunks[-1] | {"choices": event_stream.join(chunks)}
    else:
        answer = response.json()
    usage = answer.get("usage") or {}
    usage.pop("prompt_tokens_details", None)
    return {name: answer[name] for name in ("choices", "data", "usage", "seed") if name in answer}


class MostRunning:
    """Looks again and again how many sequences run at the same time."""

    def __init__(self, service: RunningService) -> None:
        self.most = 0
        self._url = service.url + "/ready"
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self) -> "MostRunning":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _look(self) -> None:
        while not self._end.wait(0.02):
            answer = requests.get(self._url, timeout=PATIENCE_SECONDS)
            self.most = max(self.most, answer.json()["running"])


def test_alone_and_among_hundreds(service: RunningService, busy_service: RunningService) -> None:
    rng = random.Random(11)
    stems = [random_text(rng, 60) for _ in range(3)]
    asked = [random_request(rng, stems) for _ in range(NUM_REQUESTS)]
    alone = [answer_of(service.session, service.url, path, body) for path, body in asked]

    sessions = threading.local()

    def ask(turn: tuple[int, bool]) -> None:
        number, stream = turn
        path, body = asked[number]
        if stream and path == "/v1/completions" and "best_of" not in body:
            body = body | {"stream": True, "stream_options": {"include_usage": True}}
        if not hasattr(sessions, "own"):
            sessions.own = opened.enter_context(requests.Session())
        answer = answer_of(sessions.own, busy_service.url, path, body)
        assert answer == alone[number], (path, body)

    turns = [(number, rng.random() < 0.5) for number in range(NUM_REQUESTS)] * TIMES_ASKED
    rng.shuffle(turns)
    with (
        contextlib.ExitStack() as opened,
        MostRunning(busy_service) as running,
        ThreadPoolExecutor(NUM_CLIENTS) as pool,
    ):
        for _ in pool.map(ask, turns):
            pass
    assert running.most > PLACES_OF_AN_ENGINE, "only one engine had work"


def test_a_prompt_in_a_list_and_by_itself(service: RunningService) -> None:
    rng = random.Random(12)
    prompts = [random_text(rng, rng.choice([0, 2, 40])) for _ in range(20)]
    fields = {"max_tokens": 12, "seed": 5, "logprobs": 3, "echo": True}
    together = service.complete(prompt=prompts, **fields)["choices"]
    for choice, prompt in zip(together, prompts, strict=True):
        (alone,) = service.complete(prompt=prompt, **fields)["choices"]
        assert choice | {"index": 0} == alone


def test_a_prompt_in_pieces_and_whole(service: RunningService) -> None:
    """Cut anywhere and carried on by its state, it goes on as if it had been sent at once."""
    rng = random.Random(13)
    ids = [rng.randrange(2, 290) for _ in range(300)]
    fields = {"max_tokens": 20, "seed": 9, "logprobs": 2, "return_token_ids": True}
    (whole,) = service.complete(prompt=ids, **fields)["choices"]
    for num_cuts in (1, 2, 5, 40):
        cuts = sorted(rng.sample(range(1, len(ids)), num_cuts))
        state = None
        for start, stop in zip([0, *cuts], cuts, strict=False):
            read = service.complete(
                prompt=ids[start:stop], state=state, max_tokens=0, return_state=True
            )
            state = read["choices"][0]["state"]
        (rest,) = service.complete(prompt=ids[cuts[-1] :], state=state, **fields)["choices"]
        for field in ("text", "token_ids", "logprobs", "finish_reason"):
            assert rest[field] == whole[field], (num_cuts, field)
