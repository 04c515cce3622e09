"""The book in a file of Project Gutenberg: without header, licence and notes of its makers.

Files of all years are known by what stands around the book: since 2003 lines such as ``*** START OF
THE PROJECT GUTENBERG EBOOK ... ***``; before, the end of the "small print" and a line that says the
end; in the oldest only the latter. All else is kept as it is, the line breaks too.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

_START = re.compile(
    r"^[ \t]*\*\*\* ?START OF (?:THE |THIS )?PROJECT GUTENBERG(?:[^*]{0,400}\*\*\*)?.*\n?",
    re.MULTILINE | re.IGNORECASE,
)
_END = re.compile(
    r"^[ \t]*\*\*\* ?END OF (?:THE |THIS )?PROJECT GUTENBERG", re.MULTILINE | re.IGNORECASE
)
_SMALL_PRINT_ENDS = re.compile(
    r"^.*\*END ?\*? ?THE SMALL PRINT!.*\n?", re.MULTILINE | re.IGNORECASE
)
_OLD_END = re.compile(
    r"^[ \t*]*(?:(?:This is )?(?:the )?End of (?:the |this )?Project Gutenberg\b"
    r"|Ende? die?ses Projekte?s? Gutenberg\b"
    r"|\*\*\*START\*\*THE SMALL PRINT!|START: FULL LICENSE)",
    re.MULTILINE | re.IGNORECASE,
)
_OLDEST_START = re.compile(r"Project Gutenberg.{0,40}\bE-?(?:text|book)\b", re.IGNORECASE)

_MAKING = (
    r"(?:prepared|produced|transcribed|created|scanned|typed|converted|digitized|proofed|proofread)"
)
_MAKERS_NOTE = re.compile(
    rf"\W*(?:{_MAKING}(?: and \w+)? (?:by|from)\b"
    rf"|(?:This |The )?(?:e-?text|e-?book|file|HTML version)s? (?:\w+ ){{0,2}}{_MAKING}\b"
    r"|(?:The )?(?:Online )?Distributed Proofread|.{0,60}\bProject Gutenberg\b)",
    re.IGNORECASE,
)
_TRANSCRIBERS = r"Transcriber(?:['’]s|s['’]|s)? (?:end)?notes?\b"
_TRANSCRIBERS_NOTE = re.compile(rf"\W*{_TRANSCRIBERS}", re.IGNORECASE)
_BRACKETED_NOTE = re.compile(
    rf"^[ \t]*\[{_TRANSCRIBERS}[^\]]*\][ \t]*(?:\n(?:[ \t]*\n)*|\Z)", re.MULTILINE | re.IGNORECASE
)
_PARAGRAPH = re.compile(r"(?:[^\n]*\S[^\n]*(?:\n|\Z))+\s*")

_FIRST_CHARACTERS = 3_000
_FIRST_PARAGRAPHS = 12
_LICENCE_CHARACTERS = 30_000
_CLOSING_CHARACTERS = 400
_LAST_SHARE = 0.1
_LONGEST_HEADING = 60


@dataclass(frozen=True)
class GutenbergText:
    """A file of Project Gutenberg, taken apart.

    Attributes:
        header: what stands before the book, with its title and author.
        book: what is left.
    """

    header: str
    book: str


def take_apart(text: str) -> GutenbergText | None:
    r"""The parts of ``text``, whose lines end with ``\n``; None where it is not of that origin."""
    start = _find_start(text)
    if start is None:
        return None
    book = text[start : _find_end(text, start)]
    book = _without_closing_notes(_without_opening_notes(_BRACKETED_NOTE.sub("", book)))
    return GutenbergText(text[: max(start, _FIRST_CHARACTERS)], book.strip("\n") + "\n")


def _find_start(text: str) -> int | None:
    """Where the header ends."""
    if mark := _START.search(text):
        return mark.end()
    mark = _SMALL_PRINT_ENDS.search(text)
    if mark and mark.end() <= len(text) / 2:
        return mark.end()
    return 0 if _OLDEST_START.search(text, 0, _FIRST_CHARACTERS) else None


def _find_end(text: str, start: int) -> int:
    """Where the licence begins: some files hold several books, so the last mark counts."""
    marks = [mark.start() for mark in _END.finditer(text, start)]
    end = marks[-1] if marks else len(text)
    within = _CLOSING_CHARACTERS if marks else _LICENCE_CHARACTERS
    closing = _OLD_END.search(text, max(start, end - within), end)
    return closing.start() if closing else end


def _without_opening_notes(book: str) -> str:
    """Without the paragraphs near the start that say who made the file, and how."""
    kept, position, heading_before = [], 0, False
    for paragraph in list(_paragraphs(book))[:_FIRST_PARAGRAPHS]:
        is_note = _TRANSCRIBERS_NOTE.match(paragraph) is not None
        if not (is_note or heading_before or _MAKERS_NOTE.match(paragraph)):
            kept.append(paragraph)
        heading_before = is_note and len(paragraph.strip()) < _LONGEST_HEADING
        position += len(paragraph)
    return "".join(kept) + book.lstrip()[position:]


def _without_closing_notes(book: str) -> str:
    """Without the transcriber's notes at the end: they run to where the book ends."""
    position = len(book)
    cut = position
    for paragraph in reversed(list(_paragraphs(book))):
        position -= len(paragraph)
        if position < len(book) * (1.0 - _LAST_SHARE):
            break
        if _TRANSCRIBERS_NOTE.match(paragraph):
            cut = position
    return book[:cut]


def _paragraphs(text: str) -> Iterator[str]:
    """Runs of lines that are not blank, each with the blank lines after it."""
    return (found[0] for found in _PARAGRAPH.finditer(text.lstrip()))
