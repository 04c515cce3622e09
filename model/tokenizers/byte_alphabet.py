"""The 256 printable characters that stand for bytes inside a byte-level BPE vocabulary."""

from __future__ import annotations


def _alphabet() -> dict[str, int]:
    """Character to byte, as GPT-2 defined it.

    A byte that is a printable, visible Latin-1 character stands for itself; the 68 others
    (controls, space, delete, no-break space, soft hyphen) are, in order, those from U+0100 on.
    """
    visible = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    hidden = [byte for byte in range(256) if byte not in set(visible)]
    letters = {chr(byte): byte for byte in visible}
    letters.update({chr(0x100 + position): byte for position, byte in enumerate(hidden)})
    return letters


#: Character in the vocabulary to the byte it stands for.
BYTE_OF_CHARACTER = _alphabet()


def token_to_bytes(token: str) -> bytes:
    """The bytes that ``token``, as written in a byte-level vocabulary, stands for.

    >>> token_to_bytes("Ġthe")
    b' the'

    Raises:
        KeyError: a character of ``token`` stands for no byte.
    """
    return bytes([BYTE_OF_CHARACTER[character] for character in token])
