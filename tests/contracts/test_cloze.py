"""Sentences with blanks are apart from all that is generated; their benchmark counts well."""

import json
import re
from itertools import islice

import pytest

from benchmarks.cloze.__main__ import main
from benchmarks.cloze.by_ngrams import NgramFiller
from benchmarks.cloze.sentences import (
    BLANK,
    Filling,
    Sentence,
    all_languages,
    read_sentences,
)
from benchmarks.service_process import running_service
from benchmarks.subject import SHIPPED_BUNDLE
from training.language_sentences.countries import read_countries
from training.language_sentences.passages import passages
from training.prepare import PrepareSettings, prepare

NUM_PASSAGES = 100_000
WINDOW = 8


@pytest.fixture(scope="module")
def sentences():
    return read_sentences()


def country_words():
    """Whatever names a country, its towns, people or language."""
    for country in read_countries():
        yield from (*country.names, country.adjective, country.people, *country.natives)
        yield from (*country.languages, *(town.name for town in country.towns))
        yield from (town.language for town in country.towns if town.language)


#: The words of all of these, in small letters.
NAMES = {word for name in country_words() for word in re.findall(r"[a-z']+", name.lower())} - {
    *("the", "of", "de", "is", "in", "nice", "split", "hue", "cork", "girl", "new")
}


def windows(text):
    """Runs of eight words, whatever the country: names of countries and languages are masked."""
    words = re.findall(r"[a-z#']+", text.replace(BLANK, "#").lower())
    words = ["#" if word in NAMES else word for word in words]
    return zip(*(words[start:] for start in range(WINDOW)), strict=False)


def test_they_are_many_and_of_all_kinds(sentences):
    assert len(sentences) >= 80
    assert len({sentence.country for sentence in sentences}) >= 30
    assert sum(sentence.kind == "end" for sentence in sentences) >= len(sentences) / 3
    assert len({sentence.text for sentence in sentences}) == len(sentences)
    assert sum(bool(sentence.note) for sentence in sentences) == 1


def test_every_language_and_country_asked_for_is_taught(sentences):
    taught = {language for country in read_countries() for language in country.languages}
    names = {name for country in read_countries() for name in country.names}
    assert set(all_languages(sentences)) <= taught
    assert all(any(s.country in name for name in names) for s in sentences)


@pytest.mark.timeout(600)
def test_none_is_made_of_what_is_generated(sentences):
    asked = {window for sentence in sentences for window in windows(sentence.text)}
    assert asked
    for text in islice(passages(1), NUM_PASSAGES):
        shared = asked.intersection(windows(text))
        assert not shared, (text, shared)


def test_ranks_are_of_the_best_right_answer():
    sentence = Sentence(f"In Bern they speak {BLANK} too.", ("German", "French"), "x", "plain")
    filling = Filling(sentence, ("it", "up", "French", "German"), ("Dutch", "German", "French"))
    assert filling.rank(open_choice=True) == 3
    assert filling.rank(open_choice=False) == 2
    assert Filling(sentence, ("it",), ()).rank(open_choice=True) is None
    assert (sentence.left, sentence.right, sentence.kind) == (
        "In Bern they speak",
        " too.",
        "middle",
    )


def test_a_bad_file_and_a_silent_service_are_said_plainly(tmp_path, capsys):
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "no blank", "answers": [], "country": "x", "style": "plain"}\n')
    assert main(["--sentences", str(bad)]) == 1
    assert "bad.jsonl, line 1" in capsys.readouterr().err
    assert main(["--url", "http://127.0.0.1:9"]) == 1
    assert "does not answer" in capsys.readouterr().err


def test_ngrams_and_a_service_fill_the_same_sentences(tmp_path, capsys):
    corpus = tmp_path / "corpus.jsonl"
    lands = [("Italy", "Italian"), ("Spain", "Spanish"), ("France", "French")] * 40
    texts = [
        f"Nobody in {land} number {n} spoke anything but {language} there."
        for n, (land, language) in enumerate(lands)
    ]
    corpus.write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    prepare(PrepareSettings(corpus=corpus, output=tmp_path / "prepared", vocab_size=600))
    asked = tmp_path / "asked.jsonl"
    records = [
        {"text": "In Italy number 7 nobody spoke anything but ____ there.", "country": "Italy"},
        {"text": "Nobody in Spain spoke anything but ____", "country": "Spain"},
    ]
    answers = {"Italy": ["Italian"], "Spain": ["Spanish"]}
    asked.write_text(
        "".join(
            json.dumps(r | {"answers": answers[r["country"]], "style": "plain"}) + "\n"
            for r in records
        )
    )
    filler = NgramFiller(tmp_path / "prepared", 3)
    sentences = read_sentences(asked)
    for sentence in sentences:
        filling = filler.fill(sentence, ["Italian", "Spanish", "never"])
        assert filling.rank(open_choice=False) <= 2
        assert filling.rank(open_choice=True) <= 5
    with running_service(SHIPPED_BUNDLE) as service:
        arguments = ["--url", f"http://127.0.0.1:{service.port}", "--sentences", str(asked)]
        out = tmp_path / "out.json"
        more = ["--ngrams", str(tmp_path / "prepared"), "--orders", "3", "--out", str(out)]
        assert main([*arguments, *more]) == 0
    assert "3-grams" in capsys.readouterr().out
    record = json.loads(out.read_text())
    assert len(record["sentences"]) == 2
    assert {entry["rank among languages"] for entry in record["sentences"]} <= {1, 2}
    shares = record["shares"]["3-grams"]["all words"]
    assert shares["middle"]["sentences"] == shares["end"]["sentences"] == 1
    assert shares["all"]["first five"] == 1.0
