"""Title, author and date of a book, as the header of its file says."""

from __future__ import annotations

import re
from dataclasses import dataclass

_FIELD = r"^{}:[ \t]*(\S.*(?:\n[ \t]+\S.*)*)"
_FIELDS = {
    name: re.compile(_FIELD.format(label), re.MULTILINE | re.IGNORECASE)
    for name, label in (
        ("title", "Title"),
        ("author", "Author"),
        ("date", r"(?:Release|Posting) Date"),
    )
}
_OLD_TITLE = re.compile(
    r"Project Gutenberg(?:['’]s)? E-?(?:text|book)s?(?: of|,)? (.+?)(?:,? by (.+?))?\**$",
    re.MULTILINE | re.IGNORECASE,
)
_OLD_DATE = re.compile(r"^(.*\d{4})\s+\[E-?(?:text|book) ", re.MULTILINE | re.IGNORECASE)
_NUMBER = re.compile(r"\s*\[E-?(?:text|book).*", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class BookFacts:
    """What is known of a text; None where it does not say.

    Attributes:
        title: of the book.
        author: as written there.
        date: of its release as a file, as written there.
    """

    title: str | None = None
    author: str | None = None
    date: str | None = None


def read_facts(header: str) -> BookFacts:
    """The facts in ``header``, of any year's form."""
    facts = {name: _first(pattern, header) for name, pattern in _FIELDS.items()}
    if old := _OLD_TITLE.search(header):
        facts["title"] = facts["title"] or _clean(old[1])
        facts["author"] = facts["author"] or (_clean(old[2]) if old[2] else None)
    return BookFacts(**{**facts, "date": facts["date"] or _first(_OLD_DATE, header)})


def _first(pattern: re.Pattern[str], header: str) -> str | None:
    found = pattern.search(header)
    return _clean(found[1]) or None if found else None


def _clean(value: str) -> str:
    return " ".join(_NUMBER.sub("", value).split())
