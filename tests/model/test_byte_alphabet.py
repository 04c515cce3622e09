"""The characters that stand for bytes are those of the library."""

import pytest
from tokenizers import pre_tokenizers

from model.tokenizers.byte_alphabet import BYTE_OF_CHARACTER, token_to_bytes


def test_every_byte_has_the_character_the_library_gives_it():
    assert sorted(BYTE_OF_CHARACTER) == sorted(pre_tokenizers.ByteLevel.alphabet())
    assert sorted(BYTE_OF_CHARACTER.values()) == list(range(256))
    split = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    text = "".join(map(chr, range(0x250))) + "日本 👩‍👧"
    [(written, _)] = split.pre_tokenize_str(text)
    assert token_to_bytes(written) == text.encode()


def test_other_characters_stand_for_no_byte():
    with pytest.raises(KeyError):
        token_to_bytes("語")
