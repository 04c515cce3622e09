"""The line that a started service prints can be pasted into a shell as it is."""

import json
import shlex
from types import SimpleNamespace

import pytest

from service.__main__ import _welcome


@pytest.mark.parametrize("prompt", ["In Italy,", "It's a café, isn't it?", 'A "word"', "$HOME `x`"])
def test_the_request_has_the_prompt_of_the_bundle(prompt):
    assert request_of(prompt) == {"prompt": prompt, "max_tokens": 40}


def test_without_an_example_any_bundle_can_answer():
    assert request_of("") == {"max_tokens": 40}


def request_of(prompt):
    bundle = SimpleNamespace(manifest=SimpleNamespace(example_prompt=prompt))
    line = _welcome("127.0.0.1", 8000, 0.5, bundle).splitlines()[2]
    return json.loads(shlex.split(line)[-1])
