"""The most likely next words: best-first search over the tokens they are made of.

A word is no more likely than any beginning of it, so beginnings are looked into in order of their
probability, most likely first, a batch at a time, until none is left that could beat the words
found (A* with a heuristic of certainty). What a word's probability is shown to be is exact; a word
can be missed only if a beginning of it was beyond ``top_k`` behind its own beginning, or if the
limit on looks was reached.
"""

from __future__ import annotations

import heapq
import itertools
import math
from dataclasses import dataclass
from typing import NamedTuple

from service.engine.growth import Look
from service.words.token_tree_plan import ROOT, TokenTreePlan, TreeWork, View, views
from service.words.vocabulary import Place, WordVocabulary
from service.words.word import is_word
from service.words.word_end import end_look, settle_ends

#: Beginnings looked into at the same time.
_MAX_BATCH = 64
#: No word is longer, in bytes.
_MAX_WORD_BYTES = 256
#: Likely tokens asked for behind the beginning of a word.
_TOP_INSIDE = 128
#: What the states that a search keeps may take.
MAX_STATE_BYTES = 32 * 2**20


@dataclass(frozen=True, kw_only=True)
class WordQuery:
    """Which words to look for.

    Attributes:
        count: how many, at most.
        lead: the white space that must precede them; None: any, or none.
        whole: count a word's probability with that of its end; else it may go on behind it.
        temperature: at which everything is meant.
        state_bytes: what one state takes.
    """

    count: int
    lead: str | None = None
    whole: bool = True
    temperature: float = 1.0
    state_bytes: int = 0

    @property
    def max_looks(self) -> int:
        """Beginnings to look into, at most."""
        by_memory = MAX_STATE_BYTES // max(self.state_bytes, 1)
        return max(_MAX_BATCH, min(1500 + 5 * self.count, by_memory))


class FoundWord(NamedTuple):
    """A word that may come next.

    Attributes:
        text: with the white space before it.
        token_ids: its tokens.
        node: the last of them, in the tree.
        parent: the node before it.
        logprob: of its tokens.
        end_logprob: that the word is over after them.
    """

    text: str
    token_ids: tuple[int, ...]
    node: int
    parent: int
    logprob: float
    end_logprob: float

    @property
    def whole_logprob(self) -> float:
        """That exactly this word comes next."""
        return self.logprob + self.end_logprob


class _Beginning(NamedTuple):
    """A beginning of words not looked into yet: ``node`` and one more token."""

    node: int
    token_ids: tuple[int, ...]
    data: bytes
    place: Place
    logprob: float


def find_words(
    vocabulary: WordVocabulary, plan: TokenTreePlan, query: WordQuery
) -> TreeWork[list[FoundWord]]:
    """The most likely words at the root of the tree, most likely first; their nodes are kept."""
    return (yield from _Search(vocabulary, plan, query).run())


class _Search:
    def __init__(self, vocabulary: WordVocabulary, plan: TokenTreePlan, query: WordQuery) -> None:
        self._vocabulary = vocabulary
        self._plan = plan
        self._query = query
        self._open: list[tuple[float, int, _Beginning]] = []
        self._found: list[tuple[float, int, FoundWord]] = []
        self._order = itertools.count()
        self._num_looks = 0

    def run(self) -> TreeWork[list[FoundWord]]:
        start = Place(lead=self._query.lead)
        grown = yield self._plan.growth([], [], root_look=self._look(start))
        (view,) = views(grown)
        self._branch(ROOT, _Beginning(ROOT, (), b"", start, 0.0), view)
        while batch := self._next_batch():
            first = self._plan.num_nodes
            grown = yield self._plan.growth(
                [beginning.node for beginning in batch],
                [beginning.token_ids[-1] for beginning in batch],
                looks=[self._look(beginning.place) for beginning in batch],
                kept=[True] * len(batch),
            )
            for index, (beginning, view) in enumerate(zip(batch, views(grown), strict=True)):
                self._take(first + index, beginning, view)
        words = [word for _, _, word in sorted(self._found, reverse=True)]
        if self._query.whole and self._vocabulary.has_undecided:
            words = yield from self._settle(words)
        return words

    def _settle(self, words: list[FoundWord]) -> TreeWork[list[FoundWord]]:
        """``words`` with what byte tokens left open about their ends."""
        temperature = self._query.temperature
        first = self._plan.num_nodes
        grown = yield self._plan.growth(
            [word.parent for word in words],
            [word.token_ids[-1] for word in words],
            looks=[end_look(self._vocabulary, temperature=temperature)] * len(words),
            kept=[True] * len(words),
        )
        seen = [(first + index, view) for index, view in enumerate(views(grown))]
        ends = yield from settle_ends(self._vocabulary, self._plan, seen, temperature)
        settled = [word._replace(end_logprob=end) for word, end in zip(words, ends, strict=True)]
        return sorted(settled, key=lambda word: -word.whole_logprob)

    @property
    def _bound(self) -> float:
        """Nothing less likely than this is of interest any more."""
        return self._found[0][0] if len(self._found) == self._query.count else -math.inf

    def _look(self, place: Place) -> Look:
        sets = self._vocabulary.sets(place)
        top_k = _TOP_INSIDE if place.inside else max(_TOP_INSIDE, 2 * self._query.count)
        ends = sets.ends if place.may_end else None
        return Look(
            top_k=top_k, within=sets.goes_on, mass_of=ends, temperature=self._query.temperature
        )

    def _next_batch(self) -> list[_Beginning]:
        batch: list[_Beginning] = []
        size = min(_MAX_BATCH, self._query.max_looks - self._num_looks)
        while self._open and len(batch) < size and -self._open[0][0] > self._bound:
            batch.append(heapq.heappop(self._open)[2])
        self._num_looks += len(batch)
        return batch

    def _take(self, node: int, beginning: _Beginning, view: View) -> None:
        if beginning.place.may_end:
            end_logprob = view.log_mass if self._query.whole else 0.0
            self._find(
                beginning.data,
                FoundWord(
                    "", beginning.token_ids, node, beginning.node, beginning.logprob, end_logprob
                ),
            )
        if len(beginning.data) < _MAX_WORD_BYTES:
            self._branch(node, beginning, view)

    def _find(self, data: bytes, word: FoundWord) -> None:
        if word.whole_logprob <= self._bound:
            return
        text = data.decode("utf-8")
        if not is_word(text.lstrip()):
            return
        if tuple(self._vocabulary.tokenizer.encode(text)) != word.token_ids:
            return  # the same text in other tokens than those it is always written in
        entry = (word.whole_logprob, -next(self._order), word._replace(text=text))
        if len(self._found) < self._query.count:
            heapq.heappush(self._found, entry)
        else:
            heapq.heapreplace(self._found, entry)

    def _branch(self, node: int, beginning: _Beginning, view: View) -> None:
        for token_id, logprob in zip(view.token_ids, view.logprobs, strict=True):
            total = beginning.logprob + logprob
            if total <= self._bound:
                return
            place = self._vocabulary.step(beginning.place, token_id)
            assert place is not None
            child = _Beginning(
                node,
                (*beginning.token_ids, token_id),
                beginning.data + self._vocabulary.piece(token_id),
                place,
                total,
            )
            heapq.heappush(self._open, (-total, next(self._order), child))
