"""How likely a word is over where it stands: ``settle_ends``.

It is over if a character that is none of a word, or the end of the text, comes next. With byte
tokens a token can be the beginning of a character, of one kind or the other; what it is worth is
only known from the tokens behind it. So those are looked into as well, the likeliest first, until
what is left cannot change the result by more than a hundred-thousandth part. A limit on their
number, which only a model that has hardly learnt anything about text can reach, bounds the work;
what is still open then counts as not over.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from service.engine.growth import Look
from service.words.token_tree_plan import TokenTreePlan, TreeWork, View, views
from service.words.vocabulary import Place, WordVocabulary

#: What may stay undecided, as a share of what is known.
_NEGLIGIBLE = 1e-5
_MAX_UNDECIDED = 512
#: Places looked into at most: for each word, and in any case.
_MAX_LOOKS_PER_WORD = 4
_MAX_LOOKS = 1000
_INSIDE = Place(inside=True)


class _Open(NamedTuple):
    """A place behind ``node`` where it is open whether word number ``word`` is over.

    ``logprob`` is that of the tokens since the word's last one.
    """

    word: int
    node: int
    place: Place
    logprob: float


class _Step(NamedTuple):
    """A token behind an open place, which leads to another."""

    token_id: int
    parent: int
    leads_to: _Open


def end_look(vocabulary: WordVocabulary, place: Place = _INSIDE, temperature: float = 1.0) -> Look:
    """What has to be known behind a word's last token, to settle whether it is over there."""
    sets = vocabulary.sets(place)
    is_any = 1 in sets.undecided
    return Look(
        top_k=_MAX_UNDECIDED if is_any else 0,
        within=sets.undecided if is_any else None,
        mass_of=sets.ends,
        temperature=temperature,
    )


def settle_ends(
    vocabulary: WordVocabulary,
    plan: TokenTreePlan,
    words: Sequence[tuple[int, View]],
    temperature: float = 1.0,
) -> TreeWork[list[float]]:
    """Logarithm of the probability that each word is over behind its last token.

    Args:
        vocabulary: of the model.
        plan: of the tree.
        words: the node of each one's last token, kept, and what an ``end_look`` showed behind it.
        temperature: that of the look.
    """
    ended = [math.exp(view.log_mass) for _, view in words]
    places = [(_Open(word, node, _INSIDE, 0.0), view) for word, (node, view) in enumerate(words)]
    num_left = _MAX_LOOKS + _MAX_LOOKS_PER_WORD * len(words)
    while steps := _likeliest(
        [step for place, view in places for step in _steps(vocabulary, place, view, ended)],
        num_left,
    ):
        num_left -= len(steps)
        first = plan.num_nodes
        grown = yield plan.growth(
            [step.parent for step in steps],
            [step.token_id for step in steps],
            looks=[end_look(vocabulary, step.leads_to.place, temperature) for step in steps],
            kept=[1 in vocabulary.sets(step.leads_to.place).undecided for step in steps],
        )
        places = [
            (step.leads_to._replace(node=first + number), view)
            for number, (step, view) in enumerate(zip(steps, views(grown), strict=True))
        ]
        for place, view in places:
            ended[place.word] += math.exp(place.logprob + view.log_mass)
    return [math.log(min(probability, 1.0)) for probability in ended]


def _likeliest(steps: list[_Step], count: int) -> list[_Step]:
    if len(steps) <= count:
        return steps
    return sorted(steps, key=lambda step: -step.leads_to.logprob)[:count]


def _steps(
    vocabulary: WordVocabulary, place: _Open, view: View, ended: Sequence[float]
) -> list[_Step]:
    """The tokens that leave it open, but for those too unlikely to matter."""
    probabilities = [math.exp(place.logprob + logprob) for logprob in view.logprobs]
    left_out, num_kept = 0.0, len(probabilities)
    negligible = _NEGLIGIBLE * ended[place.word]
    while num_kept and left_out + probabilities[num_kept - 1] <= negligible:
        num_kept -= 1
        left_out += probabilities[num_kept]
    steps = []
    for token_id, logprob in list(zip(view.token_ids, view.logprobs, strict=True))[:num_kept]:
        after = vocabulary.step(place.place, token_id)
        assert after is not None
        leads_to = _Open(place.word, place.node, after, place.logprob + logprob)
        steps.append(_Step(token_id, place.node, leads_to))
    return steps
