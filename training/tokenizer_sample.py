"""A sample of documents of bounded size, to learn a tokenizer from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass


@dataclass(frozen=True)
class _Kept:
    lottery: int
    ordinal: int
    text: str


class TokenizerSample:
    """Keeps whole documents, evenly drawn, of at most ``max_characters`` together.

    A document is kept while its lottery number lies below a threshold, which falls as the sample
    fills. So the sample depends on the texts alone: not on their order, and not on a seed.

    Attributes:
        num_characters: held at present.
    """

    def __init__(self, max_characters: int) -> None:
        """Start empty."""
        self.num_characters = 0
        self._max_characters = max_characters
        self._threshold = 2**64
        self._kept: list[_Kept] = []

    def offer(self, lottery: int, ordinal: int, text: str) -> None:
        """Take part with a document.

        Args:
            lottery: 64 bits of a hash of the text.
            ordinal: its position in reading order.
            text: the document.
        """
        if lottery >= self._threshold:
            return
        self._kept.append(_Kept(lottery, ordinal, text))
        self.num_characters += len(text)
        while self.num_characters > self._max_characters and len(self._kept) > 1:
            self._threshold //= 2
            self._kept = [kept for kept in self._kept if kept.lottery < self._threshold]
            self.num_characters = sum(len(kept.text) for kept in self._kept)

    def texts(self, wanted: Callable[[int], bool]) -> Iterator[str]:
        """The documents kept whose ordinal is ``wanted``, in reading order."""
        return (kept.text for kept in self._kept if wanted(kept.ordinal))
