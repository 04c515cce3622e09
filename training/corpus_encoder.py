"""Encoding documents quickly: the tokenizer's ids, looked up by stretches of text seen before.

A tokenizer library spends most of its time per token, whatever the token. But text repeats itself:
most of its stretches from one white space to the next were seen before. As every tokenizer here
cuts between a visible character and a following space, tab or line end, and between a letter and a
following punctuation mark other than an apostrophe (``model.tokenizers.kinds``), the ids of a
stretch do not depend on what surrounds it, and can be remembered.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np

from model.tokenizers import Tokenizer
from training.token_file import TokenArray, token_dtype

#: White space, then what is none; a plain word stands without the punctuation behind it, so that
#: fewer stretches are new. White space other than the common four may count as something else in
#: the tokenizer's regular expressions, so it never begins a stretch.
_STRETCH = re.compile(r"""\s*(?:[A-Za-z]++(?=[ \n,.;:!?")”—-])|\S+(?:[^\S \n\r\t]\s*\S*)*)|\s+""")
_MAX_REMEMBERED = 500_000
_MAX_REMEMBERED_CHARACTERS = 48
_NUM_CODE_POINTS = 0x110000


class CorpusEncoder:
    """Gives the ids that ``Tokenizer.encode(text, parse_special=False)`` gives, but sooner.

    Memory is bounded: the stretches remembered are forgotten when they have become too many.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Start with nothing remembered."""
        self._tokenizer = tokenizer
        self._dtype = token_dtype(tokenizer.vocab_size)
        self._remembered: dict[str, bytes] = {}
        self._id_of_code_point = (
            self._code_point_table() if tokenizer.kind == "char" else np.zeros(0, self._dtype)
        )

    def __len__(self) -> int:
        """Stretches remembered."""
        return len(self._remembered)

    def encode(self, texts: Sequence[str]) -> list[TokenArray]:
        """The ids of each text, of the type they have on disk. No text holds a lone surrogate."""
        if self._tokenizer.kind == "char":
            return [self._encode_characters(text) for text in texts]
        stretches = [_STRETCH.findall(text) for text in texts]
        unseen = list(set().union(*stretches) - self._remembered.keys())
        encoded = self._tokenizer.encode_batch(unseen, parse_special=False)
        for stretch, token_ids in zip(unseen, encoded, strict=True):
            self._remembered[stretch] = np.array(token_ids, self._dtype).tobytes()
        token_arrays: list[TokenArray] = [
            np.frombuffer(b"".join(map(self._remembered.__getitem__, found)), self._dtype)
            for found in stretches
        ]
        self._forget(unseen)
        return token_arrays

    def _forget(self, latest: list[str]) -> None:
        if len(self._remembered) > _MAX_REMEMBERED:
            self._remembered.clear()
        for stretch in latest:
            if len(stretch) > _MAX_REMEMBERED_CHARACTERS:
                self._remembered.pop(stretch, None)

    def _encode_characters(self, text: str) -> TokenArray:
        code_points = np.frombuffer(text.encode("utf-32-le"), "<u4")
        token_ids: TokenArray = self._id_of_code_point[code_points]
        return token_ids

    def _code_point_table(self) -> TokenArray:
        """[code points]: the id of each character, the unknown token's where there is none."""
        unknown_id = self._tokenizer.unknown_id
        assert unknown_id is not None, "every char tokenizer has an unknown token"
        table: TokenArray = np.full(_NUM_CODE_POINTS, unknown_id, self._dtype)
        for token_id in range(self._tokenizer.vocab_size):
            if token_id != unknown_id and token_id not in self._tokenizer.special_ids:
                table[ord(self._tokenizer.token_text(token_id))] = token_id
        return table
