"""Text with choices in it, and how it is read: forms, stories, clauses, words.

``<a|b>`` stands for one of its parts, ``{slot}`` for what the passage puts there. A file has
sections, ``[name]``, with one phrase a line; lines that begin with ``#`` are comments.
"""

from __future__ import annotations

import random
import re
from functools import cache
from importlib.resources import files

_CHOICE = re.compile(r"<([^<>]*)>")
_ARTICLE = re.compile(r"\b([Aa]) (?=[aeiouAEIOU])(?!(?:Eu|eu|one|uni|Uni|use|Uk|Uru))")
_SENTENCE_START = re.compile(r"(^\"?|[.?!]\s+\"?|[.?!]\"\s+\")([a-z])")


@cache
def read_phrases() -> dict[str, tuple[str, ...]]:
    """The phrases of all files by section."""
    sections: dict[str, list[str]] = {}
    for name in ("forms.txt", "stories.txt", "clauses.txt", "words.txt"):
        text = files(__package__).joinpath(name).read_text(encoding="utf-8")
        section: list[str] = []
        for line in text.splitlines():
            if line.startswith("[") and line.endswith("]"):
                section = sections.setdefault(line[1:-1], [])
            elif line and not line.startswith("#"):
                section.append(line.strip())
    return {name: tuple(phrases) for name, phrases in sections.items()}


def choose(phrase: str, rng: random.Random) -> str:
    """``phrase`` with every choice made."""
    return _CHOICE.sub(lambda found: rng.choice(found[1].split("|")), phrase)


def as_prose(text: str) -> str:
    """``text`` with capitals at the beginnings of its sentences, and "an" before vowels."""
    text = _ARTICLE.sub(r"\1n ", text)
    return _SENTENCE_START.sub(lambda found: found[1] + found[2].upper(), text)
