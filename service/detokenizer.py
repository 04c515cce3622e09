"""Tokens to text as they come: whole characters, stop strings, and what may be shown already.

Knows bytes and characters only. Per sequence: the bytes of each sampled token go in, text comes out
that will not change any more. Bytes that are no UTF-8 become U+FFFD as in Python's "replace" (one
per maximal invalid part); an incomplete character waits for its rest.
"""

from __future__ import annotations

import codecs
from dataclasses import dataclass

from service.stop_strings import StopStrings

_NO_STOPS = StopStrings(())


@dataclass(frozen=True, slots=True)
class Release:
    """Text that is final, and how many tokens in all (not forgotten) may now be shown with it."""

    text: str
    num_tokens: int


class Detokenizer:
    """One sequence's way from token bytes to text.

    Text is read character by character; the first place where a stop string ends, the longest if
    several end there, cuts the text where that string starts. Joining what ``release`` returned
    gives the whole text, whenever and however often it was called.

    Attributes:
        stop_match: the stop string found; from then on nothing may be fed.
        token_offsets: for each token fed and not forgotten, the character in the text at which it
            begins; the tokens of one character share its offset.
    """

    def __init__(
        self,
        stops: StopStrings = _NO_STOPS,
        *,
        min_tokens: int = 0,
        include_stop: bool = False,
        pending: bytes = b"",
        show_pending: bool = False,
    ) -> None:
        """Starts a sequence.

        Args:
            stops: what ends the text.
            min_tokens: a stop string that ends before so many tokens is ordinary text.
            include_stop: cut the text after the stop string instead.
            pending: bytes of an incomplete character that the prompt ends with: completed, the
                character belongs to this text.
            show_pending: if they are not completed, begin with U+FFFD in their place.
        """
        self.stop_match: str | None = None
        self.token_offsets: list[int] = []
        self._stops = stops
        self._min_tokens = min_tokens
        self._include_stop = include_stop
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._decoder.decode(pending)
        # Whether the incomplete character at hand consists of bytes that are not to be shown.
        self._foreign = bool(pending) and not show_pending
        self._state = 0
        self._num_characters = 0
        self._unreleased: list[str] = []
        self._released_characters = 0
        self._released_tokens = 0
        # For each token: how many characters must be out before it may be shown.
        self._needed: list[int] = []
        self._num_forgotten = 0

    @property
    def num_characters(self) -> int:
        """Characters so far, those held back included."""
        return self._num_characters

    @property
    def has_pending(self) -> bool:
        """Whether bytes of an incomplete character wait for their rest."""
        return bool(self._decoder.getstate()[0])

    def feed(self, token_bytes: bytes) -> None:
        """Takes the bytes of the next token; they may be none."""
        offset = self._num_characters
        head, rest = "", token_bytes
        if self.has_pending and token_bytes:
            head, rest = self._decoder.decode(token_bytes[:1]), token_bytes[1:]
            # The waiting bytes may be no character after all, but one U+FFFD by themselves.
            if len(head) == 2 or (head and self.has_pending):
                head = head[1:] if self._foreign else head
                offset += 0 if self._foreign else 1
            self._foreign = False
        text = head + self._decoder.decode(rest)
        self.token_offsets.append(offset)
        self._append(text)
        # A token without text, or with part of a character, goes with the character that follows.
        is_whole = bool(token_bytes) and not self.has_pending
        self._needed.append(self._num_characters + (0 if is_whole else 1))

    def finish(self, *, num_textless_tokens: int = 0) -> None:
        """Nothing follows: an incomplete character becomes U+FFFD, nothing is held back.

        This too may complete a stop string.

        Args:
            num_textless_tokens: last tokens, not fed, that end the text without being part of it.
        """
        if self.stop_match is None:
            rest = self._decoder.decode(b"", final=True)
            self._append("" if self._foreign else rest)
        self._state = 0
        end = self._num_characters
        self.token_offsets = [min(offset, end) for offset in self.token_offsets]
        self.token_offsets += [end] * num_textless_tokens
        self._needed += [end + 1] * num_textless_tokens

    def release(self) -> Release:
        """All text not released before that can be neither cut nor changed any more."""
        keep = self._stops.held_characters(self._state)
        text = "".join(self._unreleased)
        text, held = text[: len(text) - keep], text[len(text) - keep :]
        self._unreleased = [held]
        self._released_characters += len(text)
        while (
            self._released_tokens < len(self._needed)
            and self._needed[self._released_tokens] <= self._released_characters
        ):
            self._released_tokens += 1
        return Release(text, self._released_tokens)

    def forget(self, num_tokens: int) -> None:
        """Drops what is known of the first ``num_tokens``, all of them released.

        ``token_offsets`` and ``Release.num_tokens`` begin behind them from now on.
        """
        del self.token_offsets[:num_tokens]
        del self._needed[:num_tokens]
        self._released_tokens -= num_tokens
        self._num_forgotten += num_tokens

    def _append(self, text: str) -> None:
        if not self._stops.strings:
            self._add(text)
            return
        # A token counts towards min_tokens as soon as it is fed.
        may_stop = self._num_forgotten + len(self.token_offsets) >= self._min_tokens
        for position, character in enumerate(text, start=1):
            self._state = self._stops.next_state(self._state, character)
            match = self._stops.match(self._state)
            if match is not None and may_stop:
                self.stop_match = match
                self._cut(text[:position], match)
                return
        self._add(text)

    def _add(self, text: str) -> None:
        self._unreleased.append(text)
        self._num_characters += len(text)

    def _cut(self, text: str, match: str) -> None:
        """Ends the text at ``match``, with which ``text``, the newest part, ends."""
        text = "".join(self._unreleased) + text
        if not self._include_stop:
            text = text[: len(text) - len(match)]
        self._unreleased = [text]
        self._num_characters = self._released_characters + len(text)
        self._state = 0
