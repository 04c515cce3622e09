"""Ranking words for a blank by the evidence on both sides of it.

P(w | left, right) = P(w | left) P(right | left, w) / sum over the pool of the same. Where a word
must end at the blank's right edge, P(w | left) is that of the whole word, P(its tokens) P(it ends),
and P(right | left, w) that of what follows given that it has ended; the product is then simply the
probability of the tokens of w and of right in a row. Where nothing is on the right, the end of the
word is all the evidence there is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from service.words.candidates import Candidate, ranks, shares
from service.words.search import MAX_STATE_BYTES, WordQuery, find_words
from service.words.token_tree_plan import ROOT, Path, TokenTreePlan, TreeWork, score_paths
from service.words.vocabulary import WordVocabulary
from service.words.word_end import end_look, settle_ends


@dataclass(frozen=True, kw_only=True)
class FillQuery:
    """A blank to be filled; the tree's root stands at its left edge, before the white space.

    Attributes:
        lead: white space between the root and the word.
        right: tokens behind the word.
        whole: the word must end at the blank's right edge.
        pool: how many words to look for.
        candidates: rank these, white space included, and look for none.
        state_bytes: what one state takes.
    """

    lead: str
    right: tuple[int, ...]
    whole: bool
    pool: int
    candidates: tuple[Candidate, ...] = ()
    state_bytes: int = 0


class FilledWord(NamedTuple):
    """A word for the blank.

    Attributes:
        text: without white space before it.
        token_ids: of the white space and the word.
        logprob_left: of its tokens behind the left side.
        logprob_right: of the right side behind it.
        logprob_prior: of the word by the left side alone.
        probability: by both sides, among the pool.
        prior: by the left side alone, among the pool.
        prior_rank: its place by ``prior``, from 1.
    """

    text: str
    token_ids: tuple[int, ...]
    logprob_left: float
    logprob_right: float
    logprob_prior: float
    probability: float
    prior: float
    prior_rank: int

    @property
    def logprob(self) -> float:
        """Of its tokens and of the right side together."""
        return self.logprob_left + self.logprob_right


class _Pooled(NamedTuple):
    """A word of the pool: ``node`` is where it ends in the tree."""

    candidate: Candidate
    node: int
    logprob: float
    end_logprob: float


def fill_blank(
    vocabulary: WordVocabulary, plan: TokenTreePlan, query: FillQuery
) -> TreeWork[list[FilledWord]]:
    """The words of the pool, most probable first."""
    pool: list[_Pooled] = []
    rights: list[float] = []
    if query.candidates:
        distinct = list(dict.fromkeys(query.candidates))
        size = max(1, MAX_STATE_BYTES // max(query.state_bytes, 1))
        for start in range(0, len(distinct), size):
            part = yield from _given_words(vocabulary, plan, query, distinct[start : start + size])
            pool += part
            rights += yield from _score_right(plan, query, part)
    else:
        pool = yield from _searched_words(vocabulary, plan, query)
        rights = yield from _score_right(plan, query, pool)
    return _rank(pool, rights, query)


def _score_right(
    plan: TokenTreePlan, query: FillQuery, words: Sequence[_Pooled]
) -> TreeWork[list[float]]:
    """The evidence on the right for each of ``words``."""
    if not query.right:
        return [word.end_logprob for word in words]
    paths = [Path(word.node, query.right) for word in words]
    return [path.logprob for path in (yield from score_paths(plan, paths))]


def _searched_words(
    vocabulary: WordVocabulary, plan: TokenTreePlan, query: FillQuery
) -> TreeWork[list[_Pooled]]:
    wanted = WordQuery(
        count=query.pool,
        lead=query.lead,
        whole=query.whole,
        state_bytes=query.state_bytes,
    )
    words = yield from find_words(vocabulary, plan, wanted)
    return [
        _Pooled(Candidate(word.text, word.token_ids), word.node, word.logprob, word.end_logprob)
        for word in words
    ]


def _given_words(
    vocabulary: WordVocabulary,
    plan: TokenTreePlan,
    query: FillQuery,
    candidates: Sequence[Candidate],
) -> TreeWork[list[_Pooled]]:
    look = end_look(vocabulary) if query.whole else None
    paths = [Path(ROOT, candidate.token_ids) for candidate in candidates]
    scored = yield from score_paths(plan, paths, end_look=look, kept=True, forgets=True)
    ends = [0.0] * len(candidates)
    if query.whole:
        seen = [(path.end_node, path.view) for path in scored if path.view is not None]
        ends = yield from settle_ends(vocabulary, plan, seen)
    return [
        _Pooled(candidate, path.end_node, path.logprob, end)
        for candidate, path, end in zip(candidates, scored, ends, strict=True)
    ]


def _rank(pool: Sequence[_Pooled], rights: Sequence[float], query: FillQuery) -> list[FilledWord]:
    priors = [word.logprob + word.end_logprob for word in pool]
    totals = [word.logprob + right for word, right in zip(pool, rights, strict=True)]
    rows = zip(pool, rights, priors, shares(totals), shares(priors), ranks(priors), strict=True)
    words = [
        FilledWord(
            word.candidate.text[len(query.lead) :],
            word.candidate.token_ids,
            word.logprob,
            right,
            prior,
            share,
            prior_share,
            prior_rank,
        )
        for word, right, prior, share, prior_share, prior_rank in rows
    ]
    order = sorted(range(len(words)), key=lambda index: (-totals[index], -priors[index]))
    return [words[index] for index in order]


def coverage(words: Sequence[FilledWord]) -> float:
    """How much of all probability by the left side the pool holds."""
    return min(1.0, math.fsum(math.exp(word.logprob_prior) for word in words))
