"""Prompts of a known number of tokens, each unlike the others."""

from __future__ import annotations

import json
import random
from collections.abc import Mapping
from typing import Any

from benchmarks.subject import Subject
from model.tokenizers.tokenizer import Tokenizer

_WORDS = (
    "the of and to in that was with for his her from they were had been when there one all which "
    "would their some time little great house day night people long road water city old"
)


class Prompts:
    """Texts of common words, each of them one token, so that their length is known."""

    def __init__(self, subject: Subject) -> None:
        tokenizer = Tokenizer.load(subject.tokenizer)
        self._words = [word for word in _WORDS.split() if len(tokenizer.encode(" " + word)) == 1]
        self._random = random.Random(0)

    def text(self, num_tokens: int) -> str:
        """A prompt that has hardly been asked for before."""
        return " " + " ".join(self._random.choices(self._words, k=num_tokens))

    def body(self, num_tokens: int, fields: Mapping[str, Any]) -> str:
        """A request as JSON: such a prompt, and ``fields``."""
        return json.dumps({"prompt": self.text(num_tokens), **fields})
