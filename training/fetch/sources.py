"""What to fetch: books by Project Gutenberg number and addresses, from arguments and list files.

A list file has a line per source: a number or an address, then, both optional, ``sha256=`` (of the
bytes as served) and ``name=`` (of the file to make). What stands behind a ``#`` is a remark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urlsplit

from model.errors import ConfigurationError

#: Where Project Gutenberg keeps the plain text of a book.
GUTENBERG = "https://www.gutenberg.org/cache/epub/{number}/pg{number}.txt"
_MIRROR_PATH = "/cache/epub/{number}/pg{number}.txt"

#: Files of these kinds are kept byte for byte; all else is text, which is cleaned.
KEPT_AS_THEY_ARE = (".jsonl", ".csv", ".gz")

_NUMBER = re.compile(r"[1-9][0-9]{0,6}")
_NAME = re.compile(r"\w[\w.,'() -]{0,199}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_REMARK = re.compile(r"(^|\s)#.*")


@dataclass(frozen=True)
class Source:
    """One text to fetch.

    Attributes:
        given: as it was given: a number or an address.
        url: where it is served.
        name: of the file to make of it.
        sha256: of the bytes served, hexadecimal; None where any will do.
    """

    given: str
    url: str
    name: str
    sha256: str | None = None

    @property
    def host(self) -> str:
        """Who serves it."""
        return urlsplit(self.url).netloc

    @property
    def is_text(self) -> bool:
        """Whether it is cleaned, not kept byte for byte."""
        return not self.name.lower().endswith(KEPT_AS_THEY_ARE)


def find_sources(arguments: Iterable[str], lists: Iterable[Path], mirror: str) -> list[Source]:
    """All that is asked for, in order, each once.

    Args:
        arguments: numbers and addresses.
        lists: list files.
        mirror: an address, with ``{number}`` for the number of a book and ``{folder}`` for its
            digits but the last as folders (1342: ``1/3/4``); without these, the root of a mirror.

    Raises:
        ConfigurationError: nothing is asked for, a line cannot be read, two sources would be saved
            under one name.
    """
    pattern = _mirror_pattern(mirror)
    sources = [_source("the command line", argument, pattern) for argument in arguments]
    for path in lists:
        sources += _listed(path, pattern)
    if not sources:
        raise ConfigurationError("nothing to fetch; give book numbers, addresses or --list FILE")
    return _without_repetitions(sources)


def _mirror_pattern(mirror: str) -> str:
    if not mirror.startswith(("http://", "https://")):
        raise ConfigurationError(f"--mirror is {mirror!r}; it must begin with https:// or http://")
    pattern = mirror if "{number}" in mirror else mirror.rstrip("/") + _MIRROR_PATH
    if re.search("[{}]", re.sub(r"\{(number|folder)\}", "", pattern)):
        raise ConfigurationError(
            f"--mirror is {mirror!r}; in braces it knows only {{number}} and {{folder}}"
        )
    return pattern


def _listed(path: Path, pattern: str) -> list[Source]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"--list {path} cannot be read: {error}") from error
    stripped = [_REMARK.sub("", line).strip() for line in lines]
    return [
        _source(f"{path}, line {number}", line, pattern)
        for number, line in enumerate(stripped, 1)
        if line
    ]


def _source(place: str, line: str, pattern: str) -> Source:
    given, *options = line.split(maxsplit=1)
    values = _options(place, options[0] if options else "")
    if _NUMBER.fullmatch(given):
        folder = "/".join(given[:-1]) or "0"
        url = pattern.replace("{number}", given).replace("{folder}", folder)
        name = f"pg{given}.txt"
    elif given.startswith(("http://", "https://")) and urlsplit(given).netloc:
        url, name = given, _name_in(given)
    else:
        raise ConfigurationError(
            f"{place}: {given!r} is neither the number of a book nor an address that begins with "
            "https:// or http://"
        )
    name = values.get("name", name)
    if not _NAME.fullmatch(name):
        raise ConfigurationError(
            f"{place}: no usable file name in {name!r}; give name= with letters, digits, . - _"
        )
    return Source(given, url, name, values.get("sha256"))


def _options(place: str, text: str) -> dict[str, str]:
    values: dict[str, str] = {}
    for option in text.split():
        key, equals, value = option.partition("=")
        if not equals or key not in ("sha256", "name"):
            raise ConfigurationError(f"{place}: {option!r} is neither sha256=... nor name=...")
        values[key] = value
    if "sha256" in values:
        values["sha256"] = values["sha256"].lower()
        if not _SHA256.fullmatch(values["sha256"]):
            raise ConfigurationError(f"{place}: sha256= must be 64 hexadecimal digits")
    return values


def _name_in(url: str) -> str:
    """The file name in ``url``; a text gets ``.txt``, which is what corpora are made of."""
    name = unquote(PurePosixPath(urlsplit(url).path).name)
    if name.lower().endswith((".txt", *KEPT_AS_THEY_ARE)):
        return name
    return f"{name}.txt" if name else ""


def _without_repetitions(sources: list[Source]) -> list[Source]:
    by_name: dict[str, Source] = {}
    for source in sources:
        other = by_name.setdefault(source.name, source)
        if other.url != source.url or other.sha256 != source.sha256:
            raise ConfigurationError(
                f"{other.given} and {source.given} would both be saved as {source.name}; list them "
                "with the same sha256=, or with a name= for one of them"
            )
    return list(by_name.values())
