"""How much of a finished completion whole tokens cover: where a state can stand."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from service.detokenizer import Detokenizer


class CoveredText(NamedTuple):
    """The longest run of tokens that lies wholly in a text.

    Attributes:
        num_tokens: how many tokens.
        num_characters: how many characters of the text they are.
        rest: what is left of the text: the beginning of a token that was cut by a stop string.
    """

    num_tokens: int
    num_characters: int
    rest: str


def covered_text(
    pieces: Sequence[bytes], num_characters: int, *, pending: bytes, show_pending: bool
) -> CoveredText:
    """How far whole tokens cover the first ``num_characters`` of the text that they make.

    A run may not end inside a character. One that an incomplete character ends whose bytes become
    U+FFFD by themselves may.

    Args:
        pieces: the bytes of each token.
        num_characters: length of the text, which a stop string may have cut.
        pending: as for ``Detokenizer``.
        show_pending: likewise.
    """
    detokenizer = Detokenizer(pending=pending, show_pending=show_pending)
    covered = (0, 0)
    for num_tokens, piece in enumerate(pieces):
        complete, is_whole = detokenizer.num_characters, not detokenizer.has_pending
        detokenizer.feed(piece)
        start = detokenizer.token_offsets[-1]
        if start <= num_characters and (is_whole or start > complete):
            covered = (num_tokens, start)
    detokenizer.finish()
    if detokenizer.num_characters <= num_characters:
        covered = (len(pieces), detokenizer.num_characters)
    text = detokenizer.release().text
    return CoveredText(*covered, rest=text[covered[1] : num_characters])
