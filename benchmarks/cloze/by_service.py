"""Blanks filled by a running service, over HTTP."""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from typing import Any

from benchmarks.cloze.sentences import BLANK, Filling, Sentence

_NUM_WORDS = 50
_TIMEOUT_SECONDS = 120


def fill_by_service(url: str, sentence: Sentence, languages: list[str]) -> Filling:
    """Asks ``/v1/fill`` for a blank in the middle, ``/v1/next`` for one at the end.

    Args:
        url: of the service, ``http://localhost:8000``.
        sentence: with its blank.
        languages: to compare with each other.

    Raises:
        RuntimeError: the service does not answer, or says no.
    """
    gap = {"prefix": f"{sentence.left} ", "suffix": sentence.right.rstrip()}
    if sentence.kind == "middle":
        body = {"text": sentence.text, "blank": BLANK, "top_n": _NUM_WORDS}
        words = _texts(_ask(url, "/v1/fill", body)["data"])
    else:
        body = {"prompt": sentence.left, "unit": "word", "top_k": _NUM_WORDS}
        words = _texts(_ask(url, "/v1/next", body)["data"][0]["top"])
    # ``/v1/fill`` for both: it takes a candidate as a whole word
    chosen = gap | {"candidates": languages, "top_n": _NUM_WORDS}
    return Filling(sentence, words, _texts(_ask(url, "/v1/fill", chosen)["data"]))


def _texts(entries: list[dict[str, Any]]) -> tuple[str, ...]:
    return tuple(entry["text"].strip() for entry in entries)


def _ask(url: str, path: str, body: dict[str, Any]) -> dict[str, Any]:
    request = urllib.request.Request(
        url.rstrip("/") + path,
        data=json.dumps(body).encode(),
        headers={"Content-Type": "application/json"},
    )
    try:
        with urllib.request.urlopen(request, timeout=_TIMEOUT_SECONDS) as response:
            answer: dict[str, Any] = json.load(response)
            return answer
    except urllib.error.HTTPError as error:
        raise RuntimeError(f"{url}{path} says {error.code}: {error.read().decode()}") from error
    except OSError as error:
        raise RuntimeError(f"{url} does not answer: {error}") from error
