"""The sentences with a blank, and how well a blank was filled."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

SENTENCES = Path(__file__).with_name("sentences.jsonl")
BLANK = "____"


@dataclass(frozen=True)
class Sentence:
    """A text with one blank.

    Attributes:
        text: it, with ``BLANK`` in it.
        answers: the languages that are right.
        country: whose language is asked for.
        style: "plain", as people ask, or "literary", with the country further off.
        note: what is special about it.
    """

    text: str
    answers: tuple[str, ...]
    country: str
    style: str
    note: str = ""

    @property
    def left(self) -> str:
        """What stands before the blank, without the space at its end."""
        return self.text.partition(BLANK)[0].rstrip()

    @property
    def right(self) -> str:
        """What stands behind the blank."""
        return self.text.partition(BLANK)[2]

    @property
    def kind(self) -> str:
        """Where the blank is: "middle" or "end"."""
        return "middle" if self.right.strip() else "end"

    @property
    def groups(self) -> tuple[str, ...]:
        """Under which headings it is counted."""
        return ("all", self.kind, self.style)


@dataclass(frozen=True)
class Filling:
    """How a model filled the blank of a sentence.

    Attributes:
        sentence: the sentence.
        words: what it would write there, the likeliest first, of all words.
        languages: the same of a list of languages.
    """

    sentence: Sentence
    words: tuple[str, ...]
    languages: tuple[str, ...]

    def rank(self, *, open_choice: bool) -> int | None:
        """The place of the best right answer, from 1, among all words or among languages."""
        ordered = self.words if open_choice else self.languages
        return next((n for n, word in enumerate(ordered, 1) if word in self.sentence.answers), None)


def read_sentences(path: Path = SENTENCES) -> list[Sentence]:
    """The sentences of a JSONL file.

    Raises:
        RuntimeError: a line is none, or has not exactly one blank.
    """
    sentences = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            record = json.loads(line)
            sentence = Sentence(**record | {"answers": tuple(record["answers"])})
        except (ValueError, TypeError, KeyError) as error:
            raise RuntimeError(f"{path}, line {number}: no sentence ({error})") from error
        if sentence.text.count(BLANK) != 1:
            raise RuntimeError(f"{path}, line {number}: not one blank {BLANK}")
        sentences.append(sentence)
    return sentences


def all_languages(sentences: list[Sentence]) -> list[str]:
    """Every language that is right somewhere, in order."""
    return sorted({answer for sentence in sentences for answer in sentence.answers})
