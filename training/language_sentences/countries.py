"""Countries, their peoples and towns, and the languages spoken there according to CLDR."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

from babel import Locale
from babel.core import get_global

#: Where people say another name than CLDR.
_SPOKEN_NAMES = {
    "bn": "Bengali",
    "kl": "Greenlandic",
    "si": "Sinhalese",
}
#: Languages of fewer than this share of the people, in percent, are passed over.
_MIN_PERCENT = 10.0
#: Where English is official beside another language and yet many people's own.
_ENGLISH_AT_HOME = ("CA",)


@dataclass(frozen=True)
class Town:
    """A town and, where it differs from place to place in a country, its language."""

    name: str
    language: str | None


@dataclass(frozen=True)
class Country:
    """What is to be said of a country.

    Attributes:
        code: ISO 3166 territory code.
        names: as they stand in a sentence, the usual one first.
        adjective: of its people and things.
        people: the plural, without article.
        natives: one man and one woman of its people, without article.
        weight: how often it is chosen, against others.
        towns: well-known ones; may be empty.
        languages: English names of the official languages, with their weights.
    """

    code: str
    names: tuple[str, ...]
    adjective: str
    people: str
    natives: tuple[str, str]
    weight: float
    towns: tuple[Town, ...]
    languages: dict[str, float]

    @property
    def chief_language(self) -> str | None:
        """The one that may be called the language of the country, if there is one."""
        language, weight = max(self.languages.items(), key=lambda item: item[1])
        return language if weight > 0.9 * sum(self.languages.values()) else None


@cache
def read_countries() -> tuple[Country, ...]:
    """All countries of ``countries.csv``, with their languages."""
    table = files(__package__).joinpath("countries.csv").read_text(encoding="utf-8")
    return tuple(_country(row) for row in csv.DictReader(table.splitlines()))


@cache
def language_name(code: str) -> str:
    """What people call the language with this CLDR code."""
    return _SPOKEN_NAMES.get(code) or str(Locale("en").languages[code])


def official_languages(territory: str) -> dict[str, float]:
    """The languages one would name for a CLDR territory, with the weight of each.

    Official ones, also in fact only, that a tenth of the people speak; dialects and written
    standards (names of several words) are left out, and English where it is only for offices.
    The weight is the cube of the percentage: where two are official one mostly means the larger.
    """
    weights: dict[str, float] = {}
    for code, facts in get_global("territory_languages")[territory].items():
        base = code.split("_")[0]
        official = facts["official_status"] in ("official", "de_facto_official")
        if official and facts["population_percent"] >= _MIN_PERCENT:
            name = language_name(base)
            if " " not in name:
                weights[name] = max(weights.get(name, 0.0), facts["population_percent"] ** 3)
    if len(weights) > 1 and territory not in _ENGLISH_AT_HOME:
        weights.pop("English", None)
    return weights


def _country(row: dict[str, str]) -> Country:
    man, _, woman = row["native"].partition("/")
    return Country(
        code=row["code"],
        names=tuple(row["names"].split(";")),
        adjective=row["adjective"],
        people=row["people"],
        natives=(man, woman or man),
        weight=float(row["weight"]),
        towns=tuple(_town(entry) for entry in row["towns"].split(";") if entry),
        languages=official_languages(row["code"]),
    )


def _town(entry: str) -> Town:
    name, _, code = entry.partition("=")
    return Town(name, language_name(code) if code else None)
