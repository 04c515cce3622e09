"""Which units of a prompt a continuation owes its probability to: each is left out in turn.

delta = log P(target | prompt) - log P(target | prompt without the unit), in nats (leave-one-out, or
occlusion: Zeiler & Fergus 2014). It says what the model did, and nothing about why.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import NamedTuple

from model.tokenizers.tokenizer import Tokenizer
from service.words.token_tree_plan import ROOT, Path, TokenTreePlan, TreeWork, score_paths
from service.words.word import word_spans

_SEAM_REVERSED = re.compile(r"[ \n]\S")
_MAX_SEAM_DISTANCE = 10_000


class Unit(NamedTuple):
    """A part of the prompt, ``start`` .. ``end`` in characters.

    ``rest`` are the tokens of the prompt without it, behind what all rests begin with.
    """

    text: str
    start: int
    end: int
    rest: tuple[int, ...]


class DividedPrompt(NamedTuple):
    """A prompt whose units can be left out.

    Attributes:
        shared: the tokens that it begins with, whatever is left out.
        rest: its other tokens.
        units: what can be left out, in order.
    """

    shared: tuple[int, ...]
    rest: tuple[int, ...]
    units: list[Unit]


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


def divide_words(
    tokenizer: Tokenizer,
    text: str,
    token_ids: tuple[int, ...],
    max_units: int,
    check_work: Callable[[int], None] = lambda amount: None,
) -> DividedPrompt:
    """The last ``max_units`` words of ``text``, which ``token_ids`` stand for.

    Each goes with the white space right before it.

    Args:
        tokenizer: of the model.
        text: the prompt.
        token_ids: its tokens.
        max_units: how many words, at most.
        check_work: is told how much there would be to read for all words together, first in
            characters, then in tokens; may raise.
    """
    spans = list(word_spans(text))[-max_units:]
    seam = _seam_before(text, spans[0].lead) if spans else 0
    shared = tuple(tokenizer.encode(text[:seam]))
    if token_ids[: len(shared)] != shared:  # ids that are not how the text is usually written
        seam, shared = 0, ()
    check_work(len(spans) * (len(text) - seam))
    rests = tokenizer.encode_batch([text[seam : span.lead] + text[span.end :] for span in spans])
    check_work(sum(map(len, rests)))
    units = [
        Unit(text[span.start : span.end], span.start, span.end, tuple(rest))
        for span, rest in zip(spans, rests, strict=True)
    ]
    return DividedPrompt(shared, token_ids[len(shared) :], units)


def divide_tokens(
    tokenizer: Tokenizer,
    token_ids: tuple[int, ...],
    offsets: Sequence[int],
    num_characters: int,
    max_units: int,
) -> DividedPrompt:
    """The last ``max_units`` tokens, which begin at ``offsets`` of a text so long."""
    num_shared = max(0, len(token_ids) - max_units)
    ends = [*offsets[1:], num_characters]
    rest = token_ids[num_shared:]
    units = [
        Unit(
            tokenizer.token_text(token_id),
            offsets[num_shared + index],
            ends[num_shared + index],
            (*rest[:index], *rest[index + 1 :]),
        )
        for index, token_id in enumerate(rest)
    ]
    return DividedPrompt(token_ids[:num_shared], rest, units)


def leave_one_out(
    plan: TokenTreePlan, prompt: DividedPrompt, target: Sequence[int]
) -> TreeWork[LeaveOneOut]:
    """Scores ``target`` behind the prompt and behind what is left of it without each unit.

    The root of the tree is behind what all of these share.
    """
    rests = [prompt.rest, *(unit.rest for unit in prompt.units)]
    paths = [Path(ROOT, (*rest, *target), len(rest)) for rest in rests]
    logprob, *without = [path.logprob for path in (yield from score_paths(plan, paths))]
    return LeaveOneOut(logprob, without)


def _seam_before(text: str, end: int) -> int:
    """The last place before ``end`` where every tokenizer here cuts: between a word and a space."""
    for match in _SEAM_REVERSED.finditer(text[max(0, end - _MAX_SEAM_DISTANCE) : end][::-1]):
        return end - match.start() - 1
    return 0
