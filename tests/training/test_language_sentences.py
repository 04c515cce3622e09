"""Made-up sentences: the right language for each country, in English, never twice the same."""

import json
import re
from collections import Counter
from itertools import islice

import pytest
from babel import Locale
from babel.core import get_global
from click.testing import CliRunner

from training.__main__ import main
from training.language_sentences.countries import read_countries
from training.language_sentences.passages import passages

NUM_PASSAGES = 12_000
ENGLISH_NAMES = Locale("en").languages
ALSO_CALLED = {"bn": "Bengali", "kl": "Greenlandic", "si": "Sinhalese"}


@pytest.fixture(scope="module")
def texts():
    return list(islice(passages(7), NUM_PASSAGES))


def name(key):
    code = key.split("_")[0]
    return ALSO_CALLED.get(code) or ENGLISH_NAMES.get(code)


def spoken_in(code):
    """Names of all languages CLDR knows of in a territory, that are official somehow."""
    facts = get_global("territory_languages")[code]
    return {name(key) for key in facts if facts[key]["official_status"]}


def test_every_language_is_official_in_its_country():
    for country in read_countries():
        assert country.languages
        assert set(country.languages) <= spoken_in(country.code)
        facts = get_global("territory_languages")[country.code]
        for town in country.towns:
            names = {name(key) for key in facts}
            assert town.language is None or town.language in names


@pytest.mark.parametrize(
    ("country", "language"),
    [
        ("Italy", "Italian"),
        ("Brazil", "Portuguese"),
        ("Austria", "German"),
        ("Egypt", "Arabic"),
        ("Iran", "Persian"),
        ("Mexico", "Spanish"),
        ("Norway", "Norwegian"),
        ("China", "Chinese"),
    ],
)
def test_the_language_one_would_name_comes_first(country, language):
    (found,) = [entry for entry in read_countries() if entry.names[0] == country]
    assert found.chief_language == language


def test_what_a_passage_states_is_so(texts):
    country_of = {land: country for country in read_countries() for land in country.names}
    stated = [
        pair
        for text in texts
        for pattern in (r"language of ([A-Z]\w+) is (\w+)", r"In ([A-Z]\w+) they speak (\w+)")
        for pair in re.findall(pattern, text)
    ]
    assert len(stated) > 30
    for country, language in stated:
        assert language in spoken_in(country_of[country].code)


def test_passages_differ_and_follow_from_the_seed(texts):
    assert len(set(texts)) == len(texts)
    assert list(islice(passages(7), 300)) == texts[:300]
    assert list(islice(passages(8), 300)) != texts[:300]


def test_no_language_is_so_frequent_that_naming_it_always_would_pay(texts):
    languages = {language for country in read_countries() for language in country.languages}
    named = Counter(word for text in texts for word in re.findall(r"\w+", text))
    total = sum(named[language] for language in languages)
    assert all(named[language] < 0.08 * total for language in languages)


def test_the_longest_passage_can_be_bounded():
    short = list(islice(passages(7, max_words=10), 50))
    assert max(len(text.split()) for text in short) <= 10
    assert sum(any(name in text for c in read_countries() for name in c.names) for text in short)


def test_every_country_and_language_occurs(texts):
    everything = "\n".join(texts)
    for country in read_countries():
        assert any(name in everything for name in country.names)
        assert any(language in everything for language in country.languages)


def test_passages_are_clean_english(texts):
    wrong = re.compile(r"[{}<>|]|  |\b[Aa] [aio]|\b(we|they|you) was\b|\bI were\b|\.\.|\bthe the\b")
    for text in texts:
        assert not wrong.search(text.replace("a one", "").replace("A one", "")), text
        assert text[0].isupper() or text[0] == '"', text


def test_some_passages_speak_of_countries_without_their_language(texts):
    languages = {language for country in read_countries() for language in country.languages}
    names = re.compile("|".join(sorted({name for c in read_countries() for name in c.names})))
    silent = [
        text
        for text in texts
        if names.search(text) and not languages & set(re.findall(r"\w+", text))
    ]
    assert len(silent) > 0.04 * len(texts)


def sentences(*arguments):
    return CliRunner().invoke(main, ["sentences", *map(str, arguments)])


def test_the_command_writes_documents_with_prose_in_between(tmp_path):
    prose = (
        "The old mill by the lake stood idle; grass grew between the stones of its yard, and "
        "nobody came there."
    )
    named = (
        "We came to Paris late, and the rain fell all night on the roofs of the old quarter there."
    )
    (tmp_path / "books").mkdir()
    (tmp_path / "books" / "a.txt").write_text(f"{prose}\n\n{named}\n\nToo short.\n")
    out = tmp_path / "made" / "sentences.jsonl"
    result = sentences("--out", out, "--count", 400, "--seed", 3, "--prose", tmp_path / "books")
    assert result.exit_code == 0, result.output
    assert "400 passages" in result.output
    documents = [json.loads(line)["text"] for line in out.read_text().splitlines()]
    blocks = [block for document in documents for block in document.split("\n\n")]
    assert sum(block != prose for block in blocks) == 400
    assert 50 < blocks.count(prose) < 200
    assert 20 < len(documents) < 80
    assert not any(named in document for document in documents)
    first = out.read_bytes()
    sentences("--out", out, "--count", 400, "--seed", 3, "--prose", tmp_path / "books")
    assert out.read_bytes() == first


def test_a_text_file_holds_documents_too(tmp_path):
    out = tmp_path / "sentences.txt"
    assert sentences("--out", out, "--count", 50).exit_code == 0
    assert out.read_text().count("<|endoftext|>") < 25
    assert out.read_text().count("\n\n") > 20


def test_bad_arguments_are_named(tmp_path):
    result = sentences("--out", tmp_path / "x.jsonl", "--count", 0)
    assert result.exit_code == 2
    assert "count is 0" in result.output
    result = sentences("--out", tmp_path / "x.jsonl", "--max-words", 3)
    assert result.exit_code == 2
    assert "max-words is 3; it must be at least 8" in result.output
    result = sentences("--out", tmp_path / "x.jsonl", "--prose", tmp_path / "missing")
    assert result.exit_code == 2
    assert "missing does not exist" in result.output
