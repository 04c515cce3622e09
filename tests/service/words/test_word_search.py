"""The search against listing every string of tokens there is, up to some length."""

import itertools
import math

import numpy as np
import pytest
from fake_runtime import FakeRuntime
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_runner import END, logprob, next_logprobs, run_work, state_after

from model.scoring import log_softmax
from model.tokenizers import train_tokenizer
from service.words.blank import Gap
from service.words.candidates import tokenize_candidates
from service.words.fill import FillQuery, coverage, fill_blank
from service.words.leave_one_out import DividedPrompt, divide_tokens, divide_words, leave_one_out
from service.words.search import WordQuery, find_words
from service.words.token_tree_plan import TokenTreePlan, likeliest_token
from service.words.vocabulary import Place, WordVocabulary, may_be_word_character
from service.words.word import is_word, is_word_character


class ByteTokens:
    """A tokenizer of few tokens: single bytes, of which some are parts of characters.

    é is two of them, a letter; × is two, none; a dash is three, and its first two say already that
    it is none.
    """

    pieces = (b"", b"a", b" ", b".", b"\xc3", b"\xa9", b"\x97", b"\xe2", b"\x80", b"\x94", b"a.")
    vocab_size = len(pieces)

    def token_bytes(self, token_id):
        return self.pieces[token_id]

    def encode(self, text):
        return [self.pieces.index(bytes([byte])) for byte in text.encode()]


def plain_tokenizer(kind):
    return train_tokenizer(kind, ["ab ba. a'b\n"] * 3, 270 if kind == "bpe" else 40)


TOKENIZERS = {kind: plain_tokenizer(kind) for kind in ("char", "word", "bpe")}
CHAR = WordVocabulary(TOKENIZERS["char"])
WORD = WordVocabulary(TOKENIZERS["word"])
BYTES = WordVocabulary(ByteTokens())


def runtime_for(vocabulary):
    return FakeRuntime(vocabulary.tokenizer.vocab_size)


def end_probability(vocabulary, runtime, token_ids, pending=b"", temperature=1.0):
    """That a word is over behind ``token_ids``: by following every token until it is clear."""
    total = 0.0
    probabilities = np.exp(next_logprobs(runtime, token_ids, temperature).astype(np.float64))
    for token_id, probability in enumerate(probabilities.tolist()):
        piece = vocabulary.piece(token_id)
        text = (pending + (piece or b"\xff")).decode("utf-8", "replace") if piece else "."
        unfinished = pending + piece
        try:
            unfinished.decode()
            is_open = False
        except UnicodeDecodeError as error:
            is_open = error.end == len(unfinished) and error.reason == "unexpected end of data"
            is_open = is_open and error.start == 0 and len(unfinished) < 3 and bool(piece)
        if is_open:
            inner = end_probability(
                vocabulary, runtime, (*token_ids, token_id), unfinished, temperature
            )
            total += probability * inner
        elif not is_word_character(text[0]):
            total += probability
    return total


def all_words(vocabulary, runtime, prompt, max_tokens, *, lead=None, whole=True, temperature=1.0):
    """Every word of at most so many tokens, with its logprob, most likely first."""
    tokenizer = vocabulary.tokenizer
    words = []
    for length in range(1, max_tokens + 1):
        for token_ids in itertools.product(range(1, tokenizer.vocab_size), repeat=length):
            data = b"".join(map(vocabulary.piece, token_ids))
            try:
                text = data.decode()
            except UnicodeDecodeError:
                continue
            word = text.lstrip()
            given_lead = text[: len(text) - len(word)]
            if not is_word(word) or (lead is not None and given_lead != lead):
                continue
            if tuple(tokenizer.encode(text)) != token_ids:
                continue
            total = sum(
                float(next_logprobs(runtime, (*prompt, *token_ids[:i]), temperature)[token_id])
                for i, token_id in enumerate(token_ids)
            )
            if whole:
                ended = end_probability(
                    vocabulary, runtime, (*prompt, *token_ids), temperature=temperature
                )
                total += math.log(ended)
            words.append((total, text))
    return sorted(words, reverse=True)


@pytest.mark.parametrize(
    ("vocabulary", "max_tokens", "options"),
    [
        (CHAR, 3, {}),
        (CHAR, 3, {"lead": " ", "temperature": 0.5}),
        (CHAR, 3, {"lead": "", "whole": False}),
        (WORD, 2, {}),
        (WORD, 2, {"lead": " "}),
        (BYTES, 3, {}),
        (BYTES, 3, {"lead": "", "temperature": 1.5}),
    ],
)
def test_the_words_found_are_the_most_likely_and_their_probability_is_exact(
    vocabulary, max_tokens, options
):
    runtime = runtime_for(vocabulary)
    prompt = (1, 2)
    found = run_work(
        find_words(vocabulary, TokenTreePlan(), WordQuery(count=40, **options)), runtime, prompt
    )
    expected = all_words(vocabulary, runtime, prompt, max_tokens, **options)
    texts = [word.text for word in found]
    assert len(set(texts)) == len(texts)
    known = {text: total for total, text in expected}
    short = [word for word in found if word.text in known]
    assert len(short) > 3
    for word in short:
        assert word.whole_logprob == pytest.approx(known[word.text], abs=2e-5)
    best = [text for _, text in expected[: len(short)]]
    assert [word.text for word in short] == best
    totals = [word.whole_logprob for word in found]
    assert totals == sorted(totals, reverse=True)


def test_a_search_that_keeps_little_still_finds_words():
    query = WordQuery(count=5, state_bytes=2**30)
    words = run_work(find_words(CHAR, TokenTreePlan(), query), runtime_for(CHAR))
    assert len(words) == 5


def test_no_words_where_there_are_none():
    query = WordQuery(count=5, lead="\t\t")
    assert run_work(find_words(WORD, TokenTreePlan(), query), runtime_for(WORD)) == []


def test_tokens_end_a_word_go_on_or_neither():
    sets = BYTES.sets(Place(inside=True))
    kinds = [
        next((name for name, members in sets._asdict().items() if members[token_id]), "neither")
        for token_id in range(ByteTokens.vocab_size)
    ]
    assert kinds == [
        "ends", "goes_on", "ends", "ends", "goes_on", "ends", "ends", "goes_on", "ends", "ends",
        "neither",
    ]  # fmt: skip
    assert [i for i, is_open in enumerate(sets.undecided) if is_open] == [4, 7]
    behind = BYTES.sets(Place(inside=True, pending=b"\xc3"))
    assert behind.goes_on[5]
    assert behind.ends[6]
    assert behind.ends[1], "a character that is not completed is none of a word"


def test_beginnings_of_characters():
    assert may_be_word_character(b"\xc3")
    assert may_be_word_character(b"\xe6\x97")
    assert not may_be_word_character(b"\xe2\x80")
    assert not may_be_word_character(b"\xf0\x9f\x98")


@pytest.mark.parametrize("state_bytes", [0, 2**30], ids=["together", "one by one"])
@pytest.mark.parametrize("right", ["", " ba", "a", "."])
@pytest.mark.parametrize("vocabulary", [CHAR, WORD], ids=["char", "word"])
def test_a_fill_ranks_by_both_sides(vocabulary, right, state_bytes):
    runtime = runtime_for(vocabulary)
    tokenizer = vocabulary.tokenizer
    gap = Gap.of("ab ", right)
    left = tuple(tokenizer.encode(gap.left))
    texts = ["a", "ab", "ba", "b", "a'b", "ab"]
    query = FillQuery(
        lead=gap.lead,
        right=tuple(tokenizer.encode(right)),
        whole=gap.wants_whole_word,
        pool=10,
        candidates=tuple(tokenize_candidates(tokenizer, [" " + text for text in texts])),
        state_bytes=state_bytes,
    )
    words = run_work(fill_blank(vocabulary, TokenTreePlan(), query), runtime, left)
    assert {word.text for word in words} == set(texts)
    check_fill(vocabulary, runtime, left, query, words)
    searched = FillQuery(lead=" ", right=query.right, whole=query.whole, pool=10)
    found = run_work(fill_blank(vocabulary, TokenTreePlan(), searched), runtime, left)
    check_fill(vocabulary, runtime, left, searched, found)
    assert 0 < coverage(found) <= 1


def check_fill(vocabulary, runtime, left, query, words):
    """Every number, from the definition."""
    totals, priors = [], []
    for word in words:
        own = logprob(runtime, word.token_ids, left)
        ended = math.log(end_probability(vocabulary, runtime, (*left, *word.token_ids)))
        behind = logprob(runtime, query.right, (*left, *word.token_ids)) if query.right else ended
        assert word.logprob_left == pytest.approx(own, abs=1e-5)
        assert word.logprob_right == pytest.approx(behind, abs=1e-5)
        totals.append(own + behind)
        priors.append(own + ended if query.whole else own)
    assert totals == sorted(totals, reverse=True)
    weights, prior_weights = np.exp(totals), np.exp(priors)
    np.testing.assert_allclose(
        [word.probability for word in words], weights / weights.sum(), rtol=1e-4
    )
    np.testing.assert_allclose(
        [word.prior for word in words], prior_weights / prior_weights.sum(), rtol=1e-4
    )
    order = np.argsort(-prior_weights, kind="stable")
    assert [words[index].prior_rank for index in order] == list(range(1, len(words) + 1))


def test_leaving_words_out_scores_the_rest_again():
    runtime, tokenizer = runtime_for(CHAR), CHAR.tokenizer
    text, target = "ab ba. a'b, ab", tokenizer.encode(" ba")
    token_ids = tuple(tokenizer.encode(text))
    prompt = divide_words(tokenizer, text, token_ids, max_units=3)
    assert [(unit.text, unit.start, unit.end) for unit in prompt.units] == [
        ("ba", 3, 5), ("a'b", 7, 10), ("ab", 12, 14),
    ]  # fmt: skip
    rests = ["ab. a'b, ab", "ab ba., ab", "ab ba. a'b,"]
    assert prompt.shared + prompt.rest == token_ids
    work = leave_one_out(TokenTreePlan(), prompt, target)
    result = run_work(work, runtime, prompt.shared)
    assert result.logprob == pytest.approx(logprob(runtime, target, token_ids), abs=1e-5)
    expected = [logprob(runtime, target, tokenizer.encode(rest)) for rest in rests]
    assert result.without == pytest.approx(expected, abs=1e-5)
    assert result.deltas == pytest.approx([result.logprob - value for value in expected], abs=1e-5)
    assert [result.deltas[index] for index in result.ranking] == sorted(result.deltas)[::-1]
    support = sum(max(delta, 0) for delta in result.deltas)
    assert sum(result.shares) == pytest.approx(1.0 if support else 0.0)


@pytest.mark.parametrize("kind", ["char", "word", "bpe"])
@given(
    text=st.text(alphabet=st.sampled_from("ab é'. \n,"), max_size=40), max_units=st.integers(1, 4)
)
@settings(max_examples=60)
def test_rests_are_the_tokens_of_the_text_without_the_unit(kind, text, max_units):
    tokenizer = TOKENIZERS[kind]
    token_ids = tuple(tokenizer.encode(text))
    prompt = divide_words(tokenizer, text, token_ids, max_units)
    assert prompt.shared + prompt.rest == token_ids
    for unit in prompt.units:
        assert text[unit.start : unit.end] == unit.text
        before = text[: unit.start].rstrip()
        rest = tokenizer.encode(before + text[unit.end :])
        assert prompt.shared + unit.rest == tuple(rest)


def test_what_a_long_prompt_begins_with_is_shared():
    tokenizer = TOKENIZERS["bpe"]
    text = "ab ba " * 1000 + "end"
    token_ids = tuple(tokenizer.encode(text))
    prompt = divide_words(tokenizer, text, token_ids, max_units=5)
    assert len(prompt.rest) < 40
    odd = divide_words(tokenizer, text, (5, *token_ids), max_units=5)
    assert odd.shared == ()
    assert odd.units[-1].rest == tuple(tokenizer.encode(text[:-4]))


def test_leaving_tokens_out():
    runtime, tokenizer = runtime_for(CHAR), CHAR.tokenizer
    token_ids = tuple(tokenizer.encode("aab"))
    prompt = divide_tokens(tokenizer, token_ids, [0, 1, 2], 3, max_units=2)
    assert prompt.shared == token_ids[:1]
    assert [(unit.text, unit.start, unit.end) for unit in prompt.units] == [
        ("a", 1, 2), ("b", 2, 3),
    ]  # fmt: skip
    result = run_work(leave_one_out(TokenTreePlan(), prompt, (3,)), runtime, prompt.shared)
    expected = [logprob(runtime, (3,), rest) for rest in (token_ids[::2], token_ids[:2])]
    assert result.without == pytest.approx(expected, abs=1e-5)


def test_nothing_to_leave_out():
    runtime = runtime_for(CHAR)
    result = run_work(leave_one_out(TokenTreePlan(), DividedPrompt((), (), []), (3,)), runtime)
    assert result.ranking == []
    assert result.logprob == pytest.approx(logprob(runtime, (3,)), abs=1e-6)


def test_the_likeliest_token():
    runtime = runtime_for(CHAR)
    logits = runtime.logits(state_after(runtime, (END, 2))[None])
    assert run_work(likeliest_token(TokenTreePlan()), runtime, (2,)) == log_softmax(logits).argmax()
