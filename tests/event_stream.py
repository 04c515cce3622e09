"""Streams of ``/v1/completions`` as tests read them: every event, and the answer they add up to."""

import json


def events(service, fields):
    """The data of a stream's events, ``[DONE]`` not included; the status must be 200."""
    return read(service.post("/v1/completions", {**fields, "stream": True}))


def read(answer):
    """The same of an answer of ``requests`` that is there as a whole."""
    assert answer.status_code == 200, answer.text
    headers = answer.headers
    assert headers["Content-Type"] == "text/event-stream; charset=utf-8"
    assert (headers["Cache-Control"], headers["X-Accel-Buffering"]) == ("no-cache", "no")
    assert "Content-Length" not in headers
    assert {"x-request-id", "foretoken-model"} <= set(map(str.lower, headers))
    lines = answer.content.decode("ascii").split("\n\n")
    assert lines[-1] == ""
    assert all(line.startswith("data: ") for line in lines[:-1])
    assert lines[-2] == "data: [DONE]"
    return [json.loads(line.removeprefix("data: ")) for line in lines[:-2]]


def join(chunks):
    """The choices that a stream's chunks add up to."""
    choices = {}
    for chunk in chunks:
        for piece in chunk["choices"]:
            choice = choices.setdefault(piece["index"], {"text": "", "index": piece["index"]})
            assert "finish_reason" not in choice, "nothing follows the last chunk of a choice"
            choice["text"] += piece["text"]
            if piece["finish_reason"] is None:
                assert not {"state", "state_tokens", "state_offset"} & piece.keys()
                assert piece["stop_reason"] is None
            else:
                assert piece["text"] == ""
                whole = piece.keys() - {"text", "logprobs", "prompt_token_ids", "token_ids"}
                choice |= {name: piece[name] for name in whole}
            for name in ("prompt_token_ids", "token_ids"):
                if name in piece:
                    choice[name] = choice.get(name, []) + piece[name]
            if piece["logprobs"] is None:
                choice["logprobs"] = None
            else:
                parts = choice.setdefault("logprobs", {})
                for name, values in piece["logprobs"].items():
                    parts[name] = parts.get(name, []) + values
    return [choices[index] for index in sorted(choices)]
