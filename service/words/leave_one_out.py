"""Which units of a prompt a continuation owes its probability to: each is left out in turn.

delta = log P(target | prompt) - log P(target | prompt without the unit), in nats (leave-one-out, or
occlusion: Zeiler & Fergus 2014). It says what the model did, and nothing about why.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import takewhile
from typing import NamedTuple

from model.tokenizers.tokenizer import Tokenizer
from service.words.token_tree_plan import ROOT, Path, TokenTreePlan, TreeWork, score_paths
from service.words.word import word_spans


class Unit(NamedTuple):
    """A part of the prompt, ``start`` .. ``end`` in characters.

    ``without`` are the tokens of the prompt that it is left out of.
    """

    text: str
    start: int
    end: int
    without: tuple[int, ...]


class LeaveOneOut(NamedTuple):
    """What came of it.

    Attributes:
        logprob: of the target behind the whole prompt.
        without: the same behind the prompt without each unit, in their order.
    """

    logprob: float
    without: list[float]

    @property
    def deltas(self) -> list[float]:
        """How much the target loses without each unit; negative where it gains."""
        return [self.logprob - logprob for logprob in self.without]

    @property
    def shares(self) -> list[float]:
        """Each unit's part in all support; 0 for a unit that is none."""
        support = [max(delta, 0.0) for delta in self.deltas]
        total = math.fsum(support)
        return [delta / total if total > 0 else 0.0 for delta in support]

    @property
    def ranking(self) -> list[int]:
        """The units by falling delta; of equals the earlier first."""
        deltas = self.deltas
        return sorted(range(len(deltas)), key=lambda index: -deltas[index])


def word_units(tokenizer: Tokenizer, text: str, max_units: int) -> list[Unit]:
    """The last ``max_units`` words of ``text``; each goes with the white space right before it."""
    spans = list(word_spans(text))[-max_units:]
    rests = tokenizer.encode_batch([text[: span.lead] + text[span.end :] for span in spans])
    return [
        Unit(text[span.start : span.end], span.start, span.end, tuple(rest))
        for span, rest in zip(spans, rests, strict=True)
    ]


def token_units(
    tokenizer: Tokenizer,
    token_ids: Sequence[int],
    offsets: Sequence[int],
    num_characters: int,
    max_units: int,
) -> list[Unit]:
    """The last ``max_units`` tokens, which begin at ``offsets`` of a text so long."""
    ends = [*offsets[1:], num_characters]
    indices = range(max(0, len(token_ids) - max_units), len(token_ids))
    return [
        Unit(
            tokenizer.token_text(token_ids[index]),
            offsets[index],
            ends[index],
            (*token_ids[:index], *token_ids[index + 1 :]),
        )
        for index in indices
    ]


def shared_start(token_ids: Sequence[int], units: Sequence[Unit]) -> int:
    """How many tokens the prompt and all its rests begin with alike."""
    num_shared = len(token_ids)
    for unit in units:
        pairs = zip(token_ids[:num_shared], unit.without, strict=False)
        num_shared = sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], pairs))
    return num_shared


def leave_one_out(
    plan: TokenTreePlan,
    token_ids: Sequence[int],
    target: Sequence[int],
    units: Sequence[Unit],
) -> TreeWork[LeaveOneOut]:
    """Scores ``target`` behind the prompt and behind what is left of it without each unit.

    The root of the tree is behind the ``shared_start`` of the prompt.
    """
    num_shared = shared_start(token_ids, units)
    variants = [tuple(token_ids), *(unit.without for unit in units)]
    rests = [variant[num_shared:] for variant in variants]
    paths = [Path(ROOT, (*rest, *target), len(rest)) for rest in rests]
    logprob, *without = [path.logprob for path in (yield from score_paths(plan, paths))]
    return LeaveOneOut(logprob, without)
