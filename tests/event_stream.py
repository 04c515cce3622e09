"""Streams of ``/v1/completions`` as tests read them: every event, and the answer they add up to."""

import json


def events(service, fields):
    """The data of a stream's events, ``[DONE]`` not included; the status must be 200."""
    answer = service.post("/v1/completions", {**fields, "stream": True}, stream=True)
    assert answer.status_code == 200, answer.text
    assert answer.headers["Content-Type"] == "text/event-stream; charset=utf-8"
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
            if piece["finish_reason"] is not None:
                assert piece["text"] == ""
                choice |= {name: piece[name] for name in ("finish_reason", "stop_reason")}
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
