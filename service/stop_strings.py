"""Finding stop strings in text that grows character by character: an automaton.

Aho & Corasick 1975, Efficient String Matching: one table lookup per character, however many
strings. A state is the longest end of the text that begins some stop string, so its length is at
once the text that must be held back because it may still turn into a stop string.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence


class StopStrings:
    """The automaton of some stop strings; immutable, shared by all choices of a request.

    States are numbers, 0 is the start. Beside ``next_state``:

    Attributes:
        strings: the stop strings.
    """

    def __init__(self, strings: Sequence[str]) -> None:
        """Builds the automaton of ``strings``, none of which is empty."""
        self.strings = tuple(dict.fromkeys(strings))
        self._children: list[dict[str, int]] = [{}]
        self._matches: list[str | None] = [None]
        depths = [0]
        for string in self.strings:
            state = 0
            for character in string:
                if character not in self._children[state]:
                    self._children[state][character] = len(depths)
                    self._children.append({})
                    self._matches.append(None)
                    depths.append(depths[state] + 1)
                state = self._children[state][character]
            self._matches[state] = string
        self._fallback = [0] * len(depths)
        self._held = [0] * len(depths)
        self._link(depths)

    def _link(self, depths: list[int]) -> None:
        """Fills, shortest state first, what depends on the longest proper end that is a state."""
        queue = deque(self._children[0].values())
        while queue:
            state = queue.popleft()
            fallback = self._fallback[state]
            self._held[state] = depths[state] if self._children[state] else self._held[fallback]
            if self._matches[state] is None:
                self._matches[state] = self._matches[fallback]
            for character, child in self._children[state].items():
                self._fallback[child] = self.next_state(fallback, character)
                queue.append(child)

    def next_state(self, state: int, character: str) -> int:
        """The state after one more ``character``."""
        while True:
            child = self._children[state].get(character)
            if child is not None:
                return child
            if state == 0:
                return 0
            state = self._fallback[state]

    def match(self, state: int) -> str | None:
        """The longest stop string that ends here, if any does."""
        return self._matches[state]

    def held_characters(self, state: int) -> int:
        """How many of the last characters may still turn into a stop string."""
        return self._held[state]
