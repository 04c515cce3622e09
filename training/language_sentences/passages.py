"""Passages: sentences put together so that cause and language lie near or far apart."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator

from training.language_sentences.mentions import exchanged, find_mentions
from training.language_sentences.people import WE, I
from training.language_sentences.phrases import as_prose
from training.language_sentences.real_prose import RealProse
from training.language_sentences.scene import Scene

_MAX_TRIES = 1_000
_LEARNING = ("learn", "picked", "stud", "practi", "spoke")
_DENYING = re.compile(r"\b(no|not|never|hardly|nothing|except|forgot\w*|failed|without)\b|n't\b")
_ENDS = (".", "?", "!", '."', '?"', '!"')
NO_PROSE = RealProse()


def passages(seed: int, prose: RealProse = NO_PROSE, max_words: int | None = None) -> Iterator[str]:
    """Different passages without end, the same for the same arguments.

    Args:
        seed: of all choices.
        prose: parts of real texts. Its plain paragraphs stand between the cause and the language
            of some passages; its sentences about countries, with other countries in them, are half
            of all passages, or half of such a passage.
        max_words: longer passages are left out: in a short one, cause and language are near.

    Raises:
        RuntimeError: nothing new comes out any more.
    """
    rng = random.Random(seed)
    seen: set[str] = set()
    shares = dict(_KINDS)
    if prose.spans and prose.causes and prose.blanks:
        shares |= _REAL_KINDS
    kinds, weights = list(shares), list(shares.values())
    while True:
        for _ in range(_MAX_TRIES):
            text = as_prose(rng.choices(kinds, weights)[0](rng, prose))
            if text not in seen and (max_words is None or len(text.split()) <= max_words):
                break
        else:
            raise RuntimeError("the sentences are used up")
        seen.add(text)
        yield text


def _stop(*clauses: str) -> str:
    """Clauses as sentences, each with its full stop."""
    return " ".join(
        clause if clause.endswith(_ENDS) else f"{clause}." for clause in clauses if clause
    )


def _maybe(rng: random.Random, share: float, text: Callable[[], str]) -> str:
    return text() if rng.random() < share else ""


def _blank(scene: Scene, *, behind_where: bool = False) -> str:
    """A clause with the language in it: of the person or of the place."""
    rng = scene.rng
    if behind_where or rng.random() < 0.35:
        by_itself = not behind_where and rng.random() < 0.3
        return scene.pick("blank scene by itself" if by_itself else "blank scene")
    return f"{scene.fill('{s}')} {_person_blank(scene)}"


def _second_blank(scene: Scene) -> str:
    return _maybe(scene.rng, 0.25, lambda: _blank(scene))


def _intro(scene: Scene) -> str:
    """A phrase with the place in it, to be set before whatever follows."""
    return scene.pick("intro").rstrip(",")


def _intro_of_person(scene: Scene) -> str:
    """The same, to be set before the person."""
    return _intro(scene) if scene.rng.random() < 0.6 else scene.pick("intro of the person")


def _opening(scene: Scene) -> str:
    return _maybe(scene.rng, 0.12, lambda: scene.pick("opening") + " ")


def _aside(scene: Scene) -> str:
    return scene.pick("aside")


def _neutral(scene: Scene) -> str:
    """A clause of no bearing."""
    if scene.rng.random() < 0.5:
        return scene.pick("scene")
    return f"{scene.fill('{s}')} {scene.pick('verb phrase')}"


def _person_blank(scene: Scene) -> str:
    """What the person did with the language; what ends with it may get a tail."""
    phrase, rng = scene.pick("blank verb phrase"), scene.rng
    ends = phrase.endswith((scene.spot(0).words["L"], "language"))
    if not ends or _DENYING.search(phrase) or rng.random() < 0.55:
        return phrase
    learning = phrase.startswith(_LEARNING) and rng.random() < 0.5
    return f"{phrase} {scene.pick('learning tail' if learning else 'tail')}"


def _one_sentence(rng: random.Random, _: RealProse) -> str:
    """Place first, language in the same sentence."""
    scene = Scene(rng)
    intro, name = _intro_of_person(scene), scene.fill("{N}")
    blank = _person_blank(scene)
    deed = scene.pick("verb phrase")
    deeds = f"{deed}, {scene.pick('verb phrase')}"
    aside = _aside(scene)
    scenery = scene.pick("scene")
    of_all = _intro(scene)
    placed = f"{of_all}, {scenery}" if "," in of_all else f"{of_all} {scenery}"
    subject = scene.fill("{s}")
    shape = rng.choice(
        (
            f"{intro}, {name} {blank}",
            f"{intro}, {name} {deed} and {blank}",
            f"{intro}, {name} {deed} and {subject} {blank}",
            f"{intro}, {name} {deeds} and {blank}",
            f"{intro}, {name} {deed}, and, {aside}, {blank}",
            f"{intro}, {name} {deed} but {blank}",
            f"{placed}, and {name} {blank}",
            f"{placed}, but {name} {deed} and {blank}",
            f"{intro}, {aside}, {name} {blank}",
            f"{intro}, {name}, {aside}, {blank}",
            f"{intro}, {name} {deed}; {aside}, {subject} {blank}",
        )
    )
    return _stop(shape, _second_blank(scene))


def _cause_then_blank(rng: random.Random, _: RealProse) -> str:
    scene = Scene(rng)
    cause, blank = scene.pick("cause"), _blank(scene)
    neutral, aside = _neutral(scene), _aside(scene)
    shape = rng.choice(
        (
            f"{cause}, and {blank}",
            f"{cause}, and {aside} {blank}",
            f"{cause}; {neutral}, and {blank}",
            f"{cause}; {neutral}, but {blank}",
            f"{cause}. {_opening(scene)}{neutral}, and {aside} {blank}",
            f"{cause}. {neutral}. {_opening(scene)}{blank}",
            f"{cause}. {_opening(scene)}{neutral} and {scene.pick('scene')}. {blank}",
            f"{cause}. {_opening(scene)}{blank}",
            f"{cause}. {aside}, {blank}",
            f"{cause}. {blank}, and {neutral}",
        )
    )
    return _stop(shape, _second_blank(scene))


def _where(rng: random.Random, _: RealProse) -> str:
    scene = Scene(rng)
    cause, blank = scene.pick("cause ends"), _blank(scene, behind_where=True)
    scenery, aside = scene.pick("scene"), _aside(scene)
    own = f"{scene.fill('{s}')} {_person_blank(scene)}"
    deed = f"{scene.fill('{s}')} {scene.pick('verb phrase')}"
    shape = rng.choice(
        (
            f"{cause}, where {blank}",
            f"{cause}, where {own}",
            f"{cause}, where {deed} and {own}",
            f"{cause}, where {scenery} and {blank}",
            f"{cause}, where {scenery}, and {own}",
            f"{cause}, where, {aside}, {own}",
            f"{cause}, where {deed}; {blank}",
            f"{cause}, where {scenery}. {_opening(scene)}{own}",
        )
    )
    return _stop(shape, _second_blank(scene))


def _far_apart(rng: random.Random, prose: RealProse) -> str:
    """Some sentences of other matter stand between the place and the language."""
    scene = Scene(rng)
    cause = scene.pick(rng.choice(("cause", "cause ends")))
    between = _matter(scene, prose)
    blank = _blank(scene)
    if rng.random() < 0.4:
        blank = f"{_neutral(scene)}, and {blank}"
    return _stop(cause, *between, _opening(scene) + blank, _second_blank(scene))


def _matter(scene: Scene, prose: RealProse) -> list[str]:
    """Sentences in between: real prose where there is some, or made up."""
    if prose.plain and scene.rng.random() < 0.5:
        return [scene.rng.choice(prose.plain)]
    number = scene.rng.choice((1, 1, 2, 2, 3, 4, 5))
    joining = scene.rng.randint(0, number // 2)
    sentences = scene.pick_several("filler", number - joining)
    sentences += scene.pick_several("filler that joins", joining)
    scene.rng.shuffle(sentences)
    return sentences


def _reverse(rng: random.Random, _: RealProse) -> str:
    scene = Scene(rng)
    return _stop(scene.pick("reverse"), _maybe(rng, 0.3, lambda: _neutral(scene)))


def _native(rng: random.Random, prose: RealProse) -> str:
    """The language follows from what somebody is."""
    scene = Scene(rng)
    cause, blank = scene.pick("native cause"), scene.pick("native blank")
    between = rng.random()
    if between < 0.35:
        return _stop(f"{cause}, and {blank}")
    if between < 0.7:
        return _stop(cause, _neutral(scene), blank)
    return _stop(cause, *_matter(scene, prose), blank, _maybe(rng, 0.4, lambda: _more(scene)))


def _more(scene: Scene) -> str:
    return scene.pick("native blank")


def _present(rng: random.Random, _: RealProse) -> str:
    scene = Scene(rng)
    cause, blank = scene.pick("present cause"), scene.pick("present blank")
    shape = rng.choice((f"{cause}, and {blank}", f"{cause}. {blank}", f"{cause}; {blank}"))
    return _stop(shape, _maybe(rng, 0.3, lambda: scene.pick("present blank")))


def _journey(rng: random.Random, prose: RealProse) -> str:
    """Country after country: the last one counts."""
    scene = Scene(rng)
    sentences = [f"{scene.pick('cause')}, and {_blank(scene)}"]
    for _ in range(rng.choice((1, 1, 2, 2, 3))):
        scene.move_on()
        step = scene.pick("journey step")
        middle = _maybe(rng, 0.4, lambda: _neutral(scene))
        sentences += [step, middle, _blank(scene)] if middle else [f"{step}, and {_blank(scene)}"]
        if rng.random() < 0.2:
            sentences += _matter(scene, prose)
    return _stop(*sentences)


def _forms(section: str, most: int) -> Callable[[random.Random, RealProse], str]:
    """A passage of one to ``most`` ready-made sentences, each of its own countries."""

    def passage(rng: random.Random, _: RealProse) -> str:
        person = rng.choice((I, I, WE)) if section == "letter" else None
        count = rng.randint(1, most)
        chief = section in ("fact", "contrast")
        scenes = [Scene(rng, person, chief=chief) for _ in range(count)]
        return " ".join(_stop(scene.pick(section)) for scene in scenes)

    return passage


def _other_things(rng: random.Random, prose: RealProse) -> str:
    """Prose that says nothing of countries, in words like those of the others."""
    scene = Scene(rng)
    sentences = [scene.pick("prose on other things") for _ in range(rng.randint(1, 3))]
    return _stop(*sentences, *_maybe_matter(scene, prose, 0.5))


def _maybe_matter(scene: Scene, prose: RealProse, share: float) -> list[str]:
    return _matter(scene, prose) if scene.rng.random() < share else []


def _no_language(rng: random.Random, prose: RealProse) -> str:
    scene = Scene(rng)
    return _stop(scene.pick("fact without language"), *_maybe_matter(scene, prose, 0.5))


def _real_span(rng: random.Random, prose: RealProse) -> str:
    """Real prose in which a country and what is of it stand together."""
    return _of_other_countries(Scene(rng), rng.choice(prose.spans))


def _real_cause_and_blank(rng: random.Random, prose: RealProse) -> str:
    """A real sentence with a place and, from elsewhere, one with a language."""
    scene = Scene(rng)
    cause = _of_other_countries(scene, rng.choice(prose.causes))
    blank = _of_other_countries(scene, rng.choice(prose.blanks))
    return _stop(cause, *_maybe_matter(scene, prose, 0.3), blank)


def _real_cause(rng: random.Random, prose: RealProse) -> str:
    scene = Scene(rng)
    cause = _of_other_countries(scene, rng.choice(prose.causes))
    blank = _opening(scene) + _blank(scene)
    return _stop(cause, *_maybe_matter(scene, prose, 0.3), blank, _second_blank(scene))


def _real_blank(rng: random.Random, prose: RealProse) -> str:
    scene = Scene(rng)
    cause = scene.pick(rng.choice(("cause", "cause ends", "present cause")))
    blank = _of_other_countries(scene, rng.choice(prose.blanks))
    return _stop(cause, *_maybe_matter(scene, prose, 0.3), blank)


def _of_other_countries(scene: Scene, text: str) -> str:
    """A real sentence, its first country the scene's first place, and so on."""
    mentions = find_mentions(text)
    codes = dict.fromkeys(mention.country.code for mention in mentions)
    spots = {code: scene.spot(number) for number, code in enumerate(codes)}
    return exchanged(text, mentions, spots)


_KINDS: dict[Callable[[random.Random, RealProse], str], float] = {
    _one_sentence: 20,
    _cause_then_blank: 14,
    _where: 9,
    _far_apart: 14,
    _reverse: 9,
    _native: 8,
    _present: 7,
    _journey: 9,
    _forms("fact", 4): 7,
    _forms("contrast", 2): 6,
    _forms("dialogue", 1): 7,
    _forms("letter", 1): 7,
    _forms("story", 2): 60,
    _forms("adjective", 2): 5,
    _no_language: 14,
    _other_things: 4,
}
_REAL_KINDS: dict[Callable[[random.Random, RealProse], str], float] = {
    _real_span: 60,
    _real_cause_and_blank: 25,
    _real_cause: 25,
    _real_blank: 25,
}
