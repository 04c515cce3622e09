r"""Bytes of any usual encoding to text with ``\n`` as line end."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator

from model.errors import FetchError

_UNICODE_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
#: How the headers of Project Gutenberg name the encoding.
_NAMED = re.compile(rb"^Character set encoding:\s*([\w.:-]+)", re.MULTILINE | re.IGNORECASE)
_HEADER_BYTES = 20_000
_LINE_END = re.compile(r"\r\n?")


def decode_text(content: bytes, charset: str | None, given: str) -> str:
    """The text in ``content``.

    UTF-8 where it is that; else as a byte order mark, the text's own header or ``charset`` says;
    else Windows-1252, which Latin-1 text is meant as where it differs.

    Args:
        content: the bytes.
        charset: named by the server, if any.
        given: the source, for messages.

    Raises:
        FetchError: it is no text.
    """
    for encoding in _encodings(content, charset):
        try:
            text = content.decode(encoding)
        except (UnicodeDecodeError, LookupError):
            continue
        if "\0" in text:
            raise FetchError(f"{given} is no text but a binary file; give the address of the text")
        return _LINE_END.sub("\n", text)
    raise AssertionError("latin-1 decodes everything")


def _encodings(content: bytes, charset: str | None) -> Iterator[str]:
    for mark, encoding in _UNICODE_MARKS:
        if content.startswith(mark):
            yield encoding
    yield "utf-8"
    if named := _NAMED.search(content[:_HEADER_BYTES]):
        yield _meant(named[1].decode("ascii", "replace"))
    if charset is not None:
        yield _meant(charset)
    yield "cp1252"
    yield "latin-1"


def _meant(name: str) -> str:
    """The encoding meant by ``name``, as the web understands it (WHATWG, Encoding Standard)."""
    try:
        found = codecs.lookup(name).name
    except LookupError:
        return name
    return "cp1252" if found in ("iso8859-1", "ascii") else found
