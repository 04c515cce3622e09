"""Countries, peoples and languages that a text names, and the same text about other countries.

A real sentence in which Italy and Italian stand together says as much of Portugal once every name
in it is exchanged: what follows from what stays true, and the prose stays real (counterfactual data
augmentation: Lu et al. 2018, Gender Bias in Neural Natural Language Processing).
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Literal

from training.language_sentences.countries import Country, read_countries
from training.language_sentences.scene import Spot

Kind = Literal["land", "town", "adjective", "people", "man", "woman", "language"]

#: What is also a word, a first name or the like.
_ALSO_OTHERWISE = {
    *("Nice", "Tours", "Split", "Colon", "Constantine", "Florence", "Sydney", "Wellington"),
    *("Kingston", "Alexandria", "Georgia", "Jordan", "Medina", "Sofia"),
}
#: What a spot calls them.
_WORDS: dict[Kind, str] = {"land": "land", "adjective": "adj", "language": "L"}
_BEFORE_LANGUAGE = re.compile(
    r"\b(?:in|into|from the|of|some|little|no|any|much|more|enough|both|than|and|or|but|nor|only|"
    r"my|his|her|your|their|good|bad|broken|excellent|perfect|fluent|pure|"
    r"(?:speak\w*|spoke\w*|talk\w*|learn\w*|stud\w+|taught|teach\w*|read\w*|wrote|written|forgot\w*|"
    r"understand\w*|understood|know\w*|knew)(?: (?:me|us|him|her|it|them|you|\w+sel\w+))?)"
    r" (?:\w+ly )?$",
    re.IGNORECASE,
)
_BEHIND_LANGUAGE = re.compile(
    r"(?:[,.;:!?)\"]| (?:and|or|but|nor|with|to|for|at|as|like|by|in|from|well|fluent\w*|when|"
    r"which|that|is|was|quite|very|better|than|because|so|if|on|perfectly|tolerably|badly|too)\b)"
)
_LANGUAGE_NOUN = re.compile(
    r" (?:language|tongue|grammar|dictionary|lesson|word|phrase|verb|alphabet|sentence|accent|"
    r"idiom|translation|dialect|master|teacher|class|proverb)s?\b"
)
_ARTICLE_BEFORE = re.compile(
    r"\b(?:a|an|the|this|that|another|every|one|old|young) $", re.IGNORECASE
)
#: What follows a noun that ends its phrase.
_BEHIND_NOUN = re.compile(
    r"(?:[,.;:!?)\"]| (?:who|was|were|had|have|has|is|are|and|in|of|with|by|from|to|at|or|but|will|"
    r"would|could|did|do|does|came|said|on|as|sat|stood|went|took|gave|told|made|saw|\w+ed)\b)"
)


@dataclass(frozen=True)
class Mention:
    """A name in a text.

    Attributes:
        start: index of its first character.
        end: index behind its last.
        country: what it belongs to.
        kind: what it names.
    """

    start: int
    end: int
    country: Country
    kind: Kind


def find_mentions(text: str) -> list[Mention]:
    """All names in ``text``, in their order; a word for both nation and language by its context.

    A language that several countries speak counts as that of a country named in ``text`` as well,
    if there is one.
    """
    found = [_mention(text, match) for match in _all_names().finditer(text)]
    named = [mention.country for mention in found if mention.kind != "language"]
    return [_at_home(text, mention, named) for mention in found]


def exchanged(text: str, mentions: Sequence[Mention], spots: Mapping[str, Spot]) -> str:
    """``text`` with each mention told of the spot that stands for its country.

    Args:
        text: where ``mentions`` were found.
        mentions: what to exchange.
        spots: by country code, for every country of ``mentions``.
    """
    towns: dict[str, str] = {}
    pieces, end = [], 0
    for mention in mentions:
        before = text[end : mention.start]
        name = text[mention.start : mention.end]
        new = _name(mention, name, spots[mention.country.code], towns, before)
        if new[:1] not in "AEIO" and re.search(r"\b[Aa]n $", before):
            before = before[:-2] + " "
        if before.lower().endswith("the ") and new.startswith("the "):
            new = new[4:]
        pieces += [before, new]
        end = mention.end
    return "".join(pieces) + text[end:]


def _name(mention: Mention, name: str, spot: Spot, towns: dict[str, str], before: str) -> str:
    if mention.kind == "town":
        return _town(name, spot, towns)
    if mention.kind == "people":
        return _people(spot, with_article=before.lower().endswith("the "))
    if mention.kind in ("man", "woman"):
        return spot.natives[("man", "woman").index(mention.kind)]
    return spot.words[_WORDS[mention.kind]]


def _town(name: str, spot: Spot, towns: dict[str, str]) -> str:
    """Each town of a text becomes a town of its own, as long as there are any."""
    language = spot.words["L"]
    there = [town.name for town in spot.country.towns if town.language in (None, language)]
    free = [town for town in (spot.words["town"], *there) if town not in towns.values()]
    return towns.setdefault(name, free[0] if free else spot.words["town"])


def _people(spot: Spot, *, with_article: bool) -> str:
    """The plural; where it is no noun of its own ("the French"), it needs the article."""
    people = spot.words["people"]
    if people != spot.words["adj"] or with_article:
        return people
    man = spot.natives[0]
    return man[:-3] + "men" if man.endswith("man") else f"{people} people"


def _mention(text: str, match: re.Match[str]) -> Mention:
    name = match[0]
    country, kind = _names()[name]
    if kind == "adjective":
        kind = _kind_of_adjective(text, match, country)
    elif kind == "man" and not _stands_alone(text[match.end() :]):
        kind = "adjective"
    return Mention(match.start(), match.end(), country, kind)


def _kind_of_adjective(text: str, match: re.Match[str], country: Country) -> Kind:
    """Whether "Italian" is said of a thing, of somebody, of a people or of the language."""
    before, behind = text[max(0, match.start() - 24) : match.start()], text[match.end() :]
    if match[0] in _languages():
        if _LANGUAGE_NOUN.match(behind):
            return "language"
        if _BEFORE_LANGUAGE.search(before) and (not behind or _BEHIND_LANGUAGE.match(behind)):
            return "language"
    if _stands_alone(behind) and _ARTICLE_BEFORE.search(before):
        if country.people == match[0] and before.lower().endswith("the "):
            return "people"
        return "man"
    return "adjective"


def _stands_alone(behind: str) -> bool:
    """Whether no noun follows."""
    return not behind or _BEHIND_NOUN.match(behind) is not None


def _at_home(text: str, mention: Mention, named: Sequence[Country]) -> Mention:
    if mention.kind != "language" or mention.country in named:
        return mention
    language = text[mention.start : mention.end]
    for country in named:
        if country.chief_language == language:
            return Mention(mention.start, mention.end, country, "language")
    return mention


@cache
def _names() -> dict[str, tuple[Country, Kind]]:
    names: dict[str, tuple[Country, Kind]] = {}
    for name, country, kind in _entries():
        if name not in _ALSO_OTHERWISE:
            names.setdefault(name, (country, kind))
    return names


def _entries() -> Iterator[tuple[str, Country, Kind]]:
    """Names with what they stand for; what comes first counts."""
    countries = read_countries()
    for country in countries:
        for name in country.names:
            yield name, country, "land"
            if name.startswith("the "):
                yield f"The {name[4:]}", country, "land"
        yield country.adjective, country, "adjective"
        if country.code == "GB":
            yield "English", country, "adjective"
    for country in countries:
        yield country.people, country, "people"
        man, woman = country.natives
        yield man, country, "man"
        yield woman, country, "woman"
        if man.endswith("man"):
            yield man[:-3] + "men", country, "people"
        for town in country.towns:
            yield town.name, country, "town"
    for country in countries:
        if country.chief_language is not None:
            yield country.chief_language, country, "language"


@cache
def _languages() -> frozenset[str]:
    return frozenset(language for country in read_countries() for language in country.languages)


@cache
def _all_names() -> re.Pattern[str]:
    longest_first = sorted(_names(), key=len, reverse=True)
    # The look ahead spares most words the comparison with every name.
    return re.compile(rf"\b(?=[A-Z]|the )(?:{'|'.join(map(re.escape, longest_first))})\b")
