"""The person a passage is about: name, pronouns, forms of verbs."""

from __future__ import annotations

import random
from dataclasses import dataclass

from training.language_sentences.phrases import read_phrases

_PRONOUNS = {
    "he": "he him his himself was is has",
    "she": "she her her herself was is has",
    "they": "they them their themselves were are have",
}
_IRREGULAR = {"be": "is", "have": "has", "do": "does", "go": "goes", "teach": "teaches"}


@dataclass(frozen=True)
class Person:
    """Somebody, as a sentence needs them.

    Attributes:
        name: how they are brought in, "my sister".
        forms: what stands for the slots ``s``, ``o``, ``p``, ``reflexive``, ``was``, ``is``,
            ``has``.
        singular: whether the verb takes an s.
    """

    name: str
    forms: dict[str, str]
    singular: bool

    def verb(self, stem: str) -> str:
        """The present of ``stem`` for this person."""
        if not self.singular:
            return stem
        if stem in _IRREGULAR:
            return _IRREGULAR[stem]
        if stem.endswith(("s", "sh", "ch")):
            return stem + "es"
        return stem[:-1] + "ies" if stem.endswith(("dy", "ry")) else stem + "s"


def _person(name: str, words: str, singular: bool) -> Person:
    keys = ("s", "o", "p", "reflexive", "was", "is", "has")
    return Person(name, dict(zip(keys, words.split(), strict=True)), singular)


I = _person("I", "I me my myself was am have", False)  # noqa: E741 - what it is called
WE = _person("we", "we us our ourselves were are have", False)


def third_person(rng: random.Random, gender: str) -> Person:
    """Somebody at random: ``gender`` is "he", "she" or "they"."""
    name = rng.choice(read_phrases()[f"who is {gender}"]).format(
        m=a_name(rng, "he"), w=a_name(rng, "she"), x=rng.choice(read_phrases()["surnames"])
    )
    return _person(name, _PRONOUNS[gender], gender != "they")


def a_name(rng: random.Random, gender: str) -> str:
    """A first name for "he" or "she"."""
    return rng.choice(read_phrases()["men" if gender == "he" else "women"])


def any_person(rng: random.Random) -> Person:
    """The writer in two passages of five, else somebody else."""
    kind = rng.choices(("I", "we", "he", "she", "they"), (30, 12, 23, 23, 12))[0]
    return {"I": I, "we": WE}.get(kind) or third_person(rng, kind)
