"""A small generated corpus: sentences with a grammar, so that there is something to learn."""

import numpy as np

_SUBJECTS = ["the sailor", "a farmer", "my sister", "the old king", "every child", "our teacher"]
_VERBS = ["saw", "painted", "forgot", "carried", "sold", "admired"]
_OBJECTS = ["a red boat", "the green hill", "seven apples", "an empty house", "the long road"]
_PLACES = ["in the morning", "near the river", "behind the mill", "at the market", "by night"]


def tiny_text(num_characters: int, seed: int = 0) -> str:
    """About ``num_characters`` of paragraphs; the same for the same seed."""
    random = np.random.default_rng(seed)
    parts: list[str] = []
    length = 0
    while length < num_characters:
        words = [str(random.choice(kind)) for kind in (_SUBJECTS, _VERBS, _OBJECTS, _PLACES)]
        part = " ".join(words).capitalize() + (".\n\n" if random.random() < 0.2 else ". ")
        parts.append(part)
        length += len(part)
    return "".join(parts)
