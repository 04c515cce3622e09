"""What the slots of one passage stand for: its person, its places with their languages."""

from __future__ import annotations

import random
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from itertools import accumulate

from training.language_sentences.countries import Country, read_countries
from training.language_sentences.people import I, Person, a_name, any_person
from training.language_sentences.phrases import choose, read_phrases

#: 0 leaves a language as frequent as its countries make it, 1 makes all about equally frequent.
_LEVELLING = 0.6
_SLOT = re.compile(r"\{([a-zA-Z]+)(\d?)(?::([a-z]+))?\}")
_PLACES = (
    ("{land}", 46),
    ("{town}", 28),
    ("the <north|south|east|west> of {land}", 5),
    ("a <village|small town|fishing village|market town> in {land}", 6),
    ("a <village|small town> near {town}", 5),
    ("{town} in {land}", 4),
    ("the {adj} countryside", 3),
    ("a {adj} <village|town>", 3),
)


@dataclass(frozen=True)
class Spot:
    """A place in a country and the language spoken there.

    Attributes:
        words: what stands for ``land``, ``town``, ``place``, ``adj``, ``people`` and ``L``.
        natives: a man and a woman of the people.
        country: where it is.
    """

    words: dict[str, str]
    natives: tuple[str, str]
    country: Country


class Scene:
    """One passage's cast. ``fill`` turns a phrase into text.

    Args:
        rng: makes all choices.
        person: whom it is about; None: anybody.
        chief: only countries of which one can say that they have one language.
    """

    def __init__(
        self, rng: random.Random, person: Person | None = None, *, chief: bool = False
    ) -> None:
        self.rng = rng
        self._chief = chief
        self.person = person or any_person(rng)
        self._introduced = False
        self._spots = [_spot(rng, (), chief)]
        he = self.person.forms["s"] == "she" or (
            self.person.forms["s"] != "he" and rng.random() < 0.5
        )
        self._second = ("he", "him", "his") if he else ("she", "her", "her")
        words = read_phrases()
        self._names = rng.sample((a_name(rng, "he"), a_name(rng, "she")), 2)
        self._values = {
            "year": str(rng.randint(1790, 2019)),
            "month": rng.choice(words["months"]),
            "season": rng.choice(("spring", "summer", "autumn", "winter")),
            "age": rng.choice(words["ages"]),
            "day": str(rng.randint(1, 28)),
            "surname": rng.choice(words["surnames"]),
            "k": self._second[0],
            "ko": self._second[1],
            "kp": self._second[2],
            "kwho": rng.choice(words[f"{self._second[0]} of a nation"]),
            "kname": a_name(rng, self._second[0]),
            **self.person.forms,
        }

    def fill(self, phrase: str) -> str:
        """``phrase`` with its choices made and its slots filled."""
        return _SLOT.sub(self._slot, choose(phrase, self.rng))

    def pick(self, section: str) -> str:
        """Some phrase of a section, filled."""
        phrase = self.rng.choice(read_phrases()[section])
        while "English" in phrase and self.spot(0).words["L"] == "English":
            phrase = self.rng.choice(read_phrases()[section])
        return self.fill(phrase)

    def pick_several(self, section: str, count: int) -> list[str]:
        """``count`` different phrases of a section, filled."""
        return [self.fill(phrase) for phrase in self.rng.sample(read_phrases()[section], count)]

    def spot(self, index: int) -> Spot:
        """The ``index``-th place of the passage, each with a language of its own."""
        while len(self._spots) <= index:
            taken = tuple(spot.words["L"] for spot in self._spots)
            self._spots.append(_spot(self.rng, taken, self._chief))
        return self._spots[index]

    def move_on(self) -> None:
        """The passage's second place becomes its first, and the first its second."""
        self.spot(1)
        self._spots = [_spot(self.rng, (self._spots[0].words["L"],), self._chief), self._spots[0]]

    def _slot(self, found: re.Match[str]) -> str:
        name, number, detail = found[1], found[2], found[3]
        index = int(number) - 1 if number else 0
        spot_words = self._spots[0].words if index == 0 else self.spot(index).words
        if name in spot_words:
            return spot_words[name]
        if name in self._values and not number:
            return self._values[name]
        text = self._special(name, index, detail)
        return text[0].upper() + text[1:] if detail == "cap" else text

    def _special(self, name: str, index: int, detail: str | None) -> str:
        if name == "N":
            return self._person_name()
        if name == "native":
            return self.spot(index).natives[0 if self._second[0] == "he" else 1]
        if name == "name":
            return self._names[index]
        if name == "v" and detail:
            return self.person.verb(detail)
        if name == "span":
            return self.rng.choice(read_phrases()["spans"])
        section = {"scene": "scene", "vp": "verb phrase", "filler": "filler"}[name]
        return self.pick(section)

    def _person_name(self) -> str:
        if self._introduced and self.rng.random() < 0.85:
            return self.person.forms["s"]
        self._introduced = True
        return self.person.name if self.person is not I else "I"


def _spot(rng: random.Random, other_languages: tuple[str, ...], chief: bool) -> Spot:
    """A place whose language is none of ``other_languages``; ``chief``: its country's only one."""
    while True:
        country = rng.choices(read_countries(), cum_weights=_cumulative_weights())[0]
        if chief and country.chief_language is None:
            continue
        local = [town for town in country.towns if town.language is not None]
        if not chief and local and rng.random() < 0.6:
            town = rng.choice(local)
            language = town.language or ""
            if language not in other_languages:
                return _local_spot(rng, country, town.name, language)
        else:
            weights = country.languages
            drawn = rng.choices(list(weights), list(weights.values()))[0]
            language = country.chief_language or drawn if chief else drawn
            if language not in other_languages:
                return _national_spot(rng, country, language)


def _local_spot(rng: random.Random, country: Country, town: str, language: str) -> Spot:
    """A town with a language of its own: the country is not named, for it has others too."""
    place = town if rng.random() < 0.8 else f"a village near {town}"
    words = {"land": town, "town": town, "place": place}
    return _finished_spot(country, words, language)


def _national_spot(rng: random.Random, country: Country, language: str) -> Spot:
    land = rng.choices(country.names, [3.0] + [1.0] * (len(country.names) - 1))[0]
    towns = [town.name for town in country.towns if town.language in (None, language)]
    town = rng.choice(towns) if towns else land
    form = rng.choices([form for form, _ in _PLACES], [weight for _, weight in _PLACES])[0]
    place = choose(form, rng).format(land=land, town=town, adj=country.adjective)
    return _finished_spot(country, {"land": land, "town": town, "place": place}, language)


def _finished_spot(country: Country, words: dict[str, str], language: str) -> Spot:
    about_people = {"adj": country.adjective, "people": country.people, "L": language}
    return Spot(words | about_people, country.natives, country)


@cache
def _cumulative_weights() -> tuple[float, ...]:
    """Countries by their own weight, those less often whose language many others speak as well.

    Otherwise every seventh passage would be about Spanish, and a model that does not know which
    language follows would do best to say so each time.
    """
    countries = read_countries()
    spoken: defaultdict[str, float] = defaultdict(float)
    for country in countries:
        for language, share in _shares(country):
            spoken[language] += country.weight * share
    return tuple(
        accumulate(
            country.weight
            * sum(share * spoken[language] ** -_LEVELLING for language, share in _shares(country))
            for country in countries
        )
    )


def _shares(country: Country) -> Iterator[tuple[str, float]]:
    """Its languages, each with its share of the country's passages."""
    total = sum(country.languages.values())
    for language, weight in country.languages.items():
        yield language, weight / total
