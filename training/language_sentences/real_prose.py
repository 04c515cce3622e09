"""What of somebody's texts serves the passages: sentences that name countries and languages."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.corpus import find_corpus_files, read_documents, suggested_document_characters
from training.language_sentences.mentions import Mention, find_mentions
from training.language_sentences.phrases import as_prose

_MAX_OF_EACH = 40_000
_PLAIN_WORDS = range(20, 91)
_SENTENCE_WORDS = range(5, 41)
_MAX_SPAN_WORDS = 80
_MAX_COUNTRIES = 3
_ABBREVIATION = re.compile(
    r"\b(Mr|Mrs|Ms|Dr|St|M|Mme|Mlle|Rev|Capt|Col|Gen|No|vol|p|cf|viz|etc|[A-Z])\. "
)
_SENTENCE = re.compile(r"\S.*?[.!?][\"')]*(?=\s+[\"'(]?[A-Z]|\s*$)")


@dataclass(frozen=True)
class RealProse:
    """Parts of real texts, each at random from all that there are.

    Attributes:
        plain: paragraphs that name no country, people, town or language.
        spans: one or more sentences in which a country and its language, or what is of that
            country, stand near each other.
        causes: sentences that name one country or its towns, and no language.
        blanks: sentences that name one language, and no country.
    """

    plain: tuple[str, ...] = ()
    spans: tuple[str, ...] = ()
    causes: tuple[str, ...] = ()
    blanks: tuple[str, ...] = ()


def read_real_prose(folder: Path, rng: random.Random) -> RealProse:
    """All that ``folder`` holds of them, each at most once; of too many, some at random.

    Raises:
        CorpusError: a text cannot be read.
    """
    parts: dict[str, dict[str, None]] = {"plain": {}, "spans": {}, "causes": {}, "blanks": {}}
    for paragraph in _paragraphs(folder):
        for name, text in _parts(paragraph):
            parts[name][text] = None
    drawn = {
        name: tuple(rng.sample(list(texts), min(len(texts), _MAX_OF_EACH)))
        for name, texts in parts.items()
    }
    return RealProse(**drawn)


def _paragraphs(folder: Path) -> Iterator[str]:
    files = find_corpus_files(folder)
    for document in read_documents(files, document_characters=suggested_document_characters(files)):
        for paragraph in re.split(r"\n\s*\n|\n(?=[A-Z\"])", document.text):
            yield " ".join(paragraph.split())


def _parts(paragraph: str) -> Iterator[tuple[str, str]]:
    mentions = find_mentions(paragraph)
    if not mentions:
        if _is_whole(paragraph) and len(paragraph.split()) in _PLAIN_WORDS:
            yield "plain", paragraph
        return
    sentences = _sentences(paragraph)
    for sentence in sentences:
        if _is_whole(sentence) and len(sentence.split()) in _SENTENCE_WORDS:
            part = _cause_or_blank(find_mentions(sentence))
            if part is not None:
                yield part, sentence
    for span in _spans(sentences):
        yield "spans", span


def _sentences(paragraph: str) -> list[str]:
    """The sentences of a paragraph, about."""
    text = _ABBREVIATION.sub("\\1.\u00a0", paragraph)
    return [found[0].replace("\u00a0", " ") for found in _SENTENCE.finditer(text)]


def _is_whole(text: str) -> bool:
    """Whether it begins and ends like a sentence and keeps its quotation marks."""
    bounded = text[:1].isupper() or text[:1] == '"'
    quotes = text.count('"') % 2 == 0 and not re.search(r"[“”‘’_*\[\]{}<>|]|(?:^| )'", text)
    return bounded and quotes and text.endswith((".", "!", "?", '"')) and as_prose(text) == text


def _cause_or_blank(mentions: list[Mention]) -> str | None:
    kinds = {mention.kind for mention in mentions}
    if len({mention.country.code for mention in mentions}) != 1:
        return None
    if "language" not in kinds:
        return "causes" if kinds & {"land", "town", "man", "woman"} else None
    return None if kinds & {"land", "town"} else "blanks"


def _spans(sentences: list[str]) -> Iterator[str]:
    """Runs of sentences, as short as can be, with a place and behind or before it what is of it."""
    start = 0
    while start < len(sentences):
        for stop in range(start + 1, min(start + 4, len(sentences)) + 1):
            span = " ".join(sentences[start:stop])
            if len(span.split()) > _MAX_SPAN_WORDS:
                break
            if _is_whole(span) and _tells(find_mentions(span)):
                yield span
                start = stop - 1
                break
        start += 1


def _tells(mentions: list[Mention]) -> bool:
    places = {mention.country.code for mention in mentions if mention.kind in ("land", "town")}
    told = {
        mention.country.code
        for mention in mentions
        if mention.kind in ("language", "adjective", "people", "man", "woman")
    }
    countries = {mention.country.code for mention in mentions}
    return bool(places & told) and len(countries) <= _MAX_COUNTRIES
