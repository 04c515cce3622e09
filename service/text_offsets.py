"""Where tokens begin in a text, in characters."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from model.tokenizers.tokenizer import Tokenizer
from service.detokenizer import Detokenizer

#: Longer than any word token and the character behind it, on which its end may depend.
_WINDOW_CHARACTERS = 80


def decoded_offsets(pieces: Iterable[bytes], pending: bytes = b"") -> tuple[str, tuple[int, ...]]:
    """The text of ``pieces``, without an incomplete character at the end, and where each begins.

    The tokens of one character share its offset. ``pending`` are bytes before the first piece that
    may be the beginning of its first character.
    """
    detokenizer = Detokenizer(pending=pending)
    for piece in pieces:
        detokenizer.feed(piece)
    return detokenizer.release().text, tuple(detokenizer.token_offsets)


def offsets_in_text(
    tokenizer: Tokenizer, text: str, token_ids: Sequence[int], *, parse_special: bool
) -> tuple[int, ...]:
    """Where each of ``token_ids``, which ``text`` was encoded to, begins in ``text``."""
    pieces = [tokenizer.token_bytes(token_id, skip_special=False) for token_id in token_ids]
    if tokenizer.unknown_id is None or tokenizer.unknown_id not in token_ids:
        return decoded_offsets(pieces)[1]
    offsets = []
    position = 0
    for token_id, piece in zip(token_ids, pieces, strict=True):
        offsets.append(position)
        if token_id == tokenizer.unknown_id:
            window = text[position : position + _WINDOW_CHARACTERS]
            position += _length_of_unknown(tokenizer, window, parse_special=parse_special)
        else:
            position += len(piece.decode("utf-8"))
    return tuple(offsets)


def _length_of_unknown(tokenizer: Tokenizer, window: str, *, parse_special: bool) -> int:
    """How many characters the unknown token stands for with which ``window`` begins.

    Encoding starts afresh at every token, so it ends where the rest, by itself, gives the rest of
    the tokens.
    """
    if tokenizer.kind == "char":
        return 1
    rest = tokenizer.encode(window, parse_special=parse_special)[1:]
    lengths = range(1, len(window))
    matching = (
        length
        for length in lengths
        if tokenizer.encode(window[length:], parse_special=parse_special) == rest
    )
    return next(matching, len(window))
