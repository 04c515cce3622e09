"""Real sentences told of other countries: all names are found, what belongs together stays so."""

import random
import re
from itertools import islice

import pytest

from training.language_sentences.countries import read_countries
from training.language_sentences.mentions import exchanged, find_mentions
from training.language_sentences.passages import passages
from training.language_sentences.phrases import as_prose
from training.language_sentences.real_prose import read_real_prose
from training.language_sentences.scene import Scene

PROSE = """\
We had not been a week in Spain before my sister spoke Spanish with the porter's wife.

The Frenchman lent me an umbrella. He had come from Lyons, and all his talk was of silk.

"You are an Italian, sir," said she. "I grew up at Naples, and know an Italian by his hat."

He answered the boy in Danish. It rained.

She took an old hat from the peg, looked long into the glass, and went down to wait for the dog.

In Greece nobody hurried. An old Greek sold us figs, and taught us the Greek words for them.
"""


@pytest.fixture
def prose(tmp_path):
    (tmp_path / "book.txt").write_text(PROSE, encoding="utf-8")
    return read_real_prose(tmp_path, random.Random(1))


def kinds(text):
    return [(text[m.start : m.end], m.country.code, m.kind) for m in find_mentions(text)]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("We reached Milan in May.", [("Milan", "IT", "town")]),
        ("She spoke good Italian.", [("Italian", "IT", "language")]),
        ("the Italian language", [("Italian", "IT", "language")]),
        ("an Italian summer", [("Italian", "IT", "adjective")]),
        ("An Italian sat there.", [("Italian", "IT", "man")]),
        ("the French were late", [("French", "FR", "people")]),
        ("two Frenchmen and a Dane", [("Frenchmen", "FR", "people"), ("Dane", "DK", "man")]),
        ("He learnt German in Vienna.", [("German", "AT", "language"), ("Vienna", "AT", "town")]),
        ("He learnt German.", [("German", "DE", "language")]),
        ("The Netherlands are flat.", [("The Netherlands", "NL", "land")]),
        ("a turkey on china", []),
    ],
)
def test_a_name_is_found_with_what_it_means_there(text, expected):
    assert kinds(text) == expected


def test_no_name_of_the_old_countries_is_left_and_every_new_one_belongs_together():
    text = "In Italy an Italian from Milan taught us Italian. Milan is Italian; Rome is older."
    mentions = find_mentions(text)
    for seed in range(200):
        scene = Scene(random.Random(seed))
        spot = scene.spot(0)
        new = as_prose(exchanged(text, mentions, {"IT": spot}))
        if spot.country.code != "IT":
            assert not re.search(r"\bItal|Milan|Rome", new)
        assert new.count(spot.words["L"]) >= 1
        assert not re.search(r"\b[Aa] [AEIO]|\b[Aa]n [^AEIOU]|\bthe the\b", new), new


def test_two_countries_stay_two():
    text = "He left Italy for Spain, where one speaks Spanish; at home he spoke Italian."
    scene = Scene(random.Random(3))
    spots = {"IT": scene.spot(0), "ES": scene.spot(1)}
    first, second = spots["IT"].words, spots["ES"].words
    assert first["L"] != second["L"]
    assert exchanged(text, find_mentions(text), spots) == (
        f"He left {first['land']} for {second['land']}, where one speaks {second['L']}; "
        f"at home he spoke {first['L']}."
    )


def test_texts_are_taken_apart_by_what_they_name(prose):
    assert [text[:16] for text in prose.plain] == ["She took an old "]
    assert "He answered the boy in Danish." in prose.blanks
    assert "He had come from Lyons, and all his talk was of silk." in prose.causes
    assert any(span.startswith("We had not been a week in Spain") for span in prose.spans)
    assert any(span.startswith("In Greece nobody hurried. An old Greek") for span in prose.spans)


def test_passages_are_made_of_real_prose_too(prose):
    texts = list(islice(passages(5, prose), 400))
    silk = [text for text in texts if "all his talk was of silk" in text]
    assert len(silk) > 20
    towns = {town.name for country in read_countries() for town in country.towns}
    assert len({town for text in silk for town in towns if f"from {town}" in text}) > 5
    assert list(islice(passages(5, prose), 50)) == texts[:50]


def test_without_such_prose_all_passages_are_made_up():
    assert not any("all his talk was of silk" in text for text in islice(passages(5), 400))
