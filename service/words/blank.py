"""The blank in a text, and what stands on either side of it."""

from __future__ import annotations

import re
from typing import NamedTuple

from service.words.word import is_word_character

MIN_UNDERSCORES = 4
_UNDERSCORES = re.compile(f"_{{{MIN_UNDERSCORES},}}")


def find_blanks(text: str, blank: str | None = None) -> list[tuple[int, int]]:
    """Start and end of every blank: runs of underscores, or wherever ``blank`` stands instead."""
    pattern = _UNDERSCORES if blank is None else re.compile(re.escape(blank))
    return [match.span() for match in pattern.finditer(text)]


class Gap(NamedTuple):
    """A blank's surroundings.

    Attributes:
        left: the text before it, without the white space at its end.
        lead: that white space: it belongs to the word that is looked for.
        right: the text behind it.
    """

    left: str
    lead: str
    right: str

    @classmethod
    def of(cls, before: str, right: str) -> Gap:
        """The gap between two texts."""
        left = before.rstrip()
        return cls(left, before[len(left) :], right)

    @property
    def wants_whole_word(self) -> bool:
        """Whether a word in the gap ends there: nothing, or no word character, stands behind it."""
        return not self.right or not is_word_character(self.right[0])

    def filled(self, word: str) -> str:
        """The whole text with ``word`` in the gap."""
        return self.left + self.lead + word + self.right
