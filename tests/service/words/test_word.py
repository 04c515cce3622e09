import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.words.blank import Gap, find_blanks
from service.words.candidates import ranks, shares
from service.words.text_score import score_text
from service.words.word import WordSpan, is_word, word_spans

TEXTS = st.text(alphabet=st.sampled_from("ab1é'- \n.,_\u0301日"), max_size=30)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("In Italy, I've 2 well-known cafés.", ["In", "Italy", "I've", "2", "well-known", "cafés"]),
        ("-- ' -", []),
        ("日本語 हिन्दी", ["日本語", "हिन्दी"]),
        ("", []),
    ],
)
def test_words_are_runs_of_letters_digits_apostrophes_and_hyphens(text, words):
    assert [text[span.start : span.end] for span in word_spans(text)] == words


@given(TEXTS)
def test_words_are_whole_and_everything_else_is_none(text):
    rest = text
    for span in reversed(list(word_spans(text))):
        assert is_word(text[span.start : span.end])
        assert text[span.lead : span.start] == "" or text[span.lead : span.start].isspace()
        assert span.lead == 0 or not text[span.lead - 1].isspace()
        rest = rest[: span.start] + "\0" + rest[span.end :]
    assert not any(map(str.isalnum, rest))


@given(TEXTS)
def test_the_same_words_as_a_regular_expression_finds(text):
    runs = re.finditer(r"[^\W_\u0301][\u0301\w'-]*|['\u0301-][\u0301\w'-]*", text.replace("_", "."))
    expected = [match[0] for match in runs if any(map(str.isalnum, match[0]))]
    assert [text[span.start : span.end] for span in word_spans(text)] == expected


def test_white_space_right_before_a_word_goes_with_it():
    assert list(word_spans("a,  b")) == [WordSpan(0, 0, 1), WordSpan(2, 4, 5)]


def test_blanks():
    assert find_blanks("a ____ b ___ c ______") == [(2, 6), (15, 21)]
    assert find_blanks("a ____ b ?? c", "??") == [(9, 11)]
    assert Gap.of("the \n", " end") == Gap("the", " \n", " end")
    assert Gap.of("the ", ", end").wants_whole_word
    assert Gap.of("the ", "").wants_whole_word
    assert not Gap.of("the ", "ed").wants_whole_word
    assert Gap.of("the ", ".").filled("end") == "the end."


@given(st.lists(st.floats(-9999, 0), min_size=1, max_size=20))
def test_shares_and_ranks(logprobs):
    parts = shares(logprobs)
    assert sum(parts) == pytest.approx(1.0)
    places = ranks(logprobs)
    assert sorted(places) == list(range(1, len(logprobs) + 1))
    by_place = [logprob for _, logprob in sorted(zip(places, logprobs, strict=True))]
    assert by_place == sorted(logprobs, reverse=True)


def test_totals_of_a_text():
    score = score_text([-1.0, -3.0], num_characters=8, num_bytes=10)
    assert score.total_logprob == -4.0
    assert score.perplexity == pytest.approx(7.389056)
    assert score.bits_per_token == pytest.approx(2.885390)
    assert score.bits_per_character == pytest.approx(0.721348)
    assert score.bits_per_byte == pytest.approx(0.577078)
    assert score_text([], 0, 0) == (0.0, None, None, None, None, None)
    assert score_text([-9999.0], 1, 1).perplexity < float("inf")
