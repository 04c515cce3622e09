"""Encoding documents quickly: the tokenizer's ids, looked up by stretches of text seen before.

A tokenizer library spends most of its time per token, whatever the token. But text repeats itself:
cut where the ids do not depend on what stands around (``training.stretches``), nearly all of it was
seen before, and is looked up in arrays, a million characters at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from model.tokenizers import Tokenizer
from training.stretch_table import StretchTable
from training.stretches import Stretches, cut_texts
from training.token_file import TokenArray, token_dtype

_NUM_CODE_POINTS = 0x110000


class CorpusEncoder:
    """Gives the ids that ``Tokenizer.encode(text, parse_special=False)`` gives, but sooner.

    Memory is bounded: the stretches remembered are forgotten when they have become too many.
    """

    def __init__(self, tokenizer: Tokenizer) -> None:
        """Start with nothing remembered."""
        self._tokenizer = tokenizer
        self._dtype = token_dtype(tokenizer.vocab_size)
        self._table = StretchTable(self._dtype)
        self._id_of_code_point = (
            self._code_point_table() if tokenizer.kind == "char" else np.zeros(0, self._dtype)
        )

    def __len__(self) -> int:
        """Stretches remembered."""
        return len(self._table)

    def encode(self, texts: Sequence[str]) -> list[TokenArray]:
        """The ids of each text, of the type they have on disk. No text holds a lone surrogate."""
        if self._tokenizer.kind == "char":
            return [self._encode_characters(text) for text in texts]
        stretches = cut_texts(texts)
        entries = self._table.find(stretches.hashes)
        if (entries < 0).any():
            if self._table.is_full:
                self._table.clear()
                entries[:] = -1
            self._learn(stretches, np.flatnonzero(entries < 0))
            entries = self._table.find(stretches.hashes)
        if not self._table.are_equal(stretches, entries):
            # Two stretches with one hash: once in 10^13 characters, if chance is on our side.
            encoded = self._tokenizer.encode_batch(texts, parse_special=False)
            return [np.array(token_ids, self._dtype) for token_ids in encoded]
        token_ids, begins = self._table.ids(entries)
        ends = [*begins[stretches.text_starts[1:]], len(token_ids)]
        starts = begins[stretches.text_starts]
        return [token_ids[start:end] for start, end in zip(starts, ends, strict=False)]

    def _learn(self, stretches: Stretches, unseen: NDArray[np.int64]) -> None:
        """Has the tokenizer encode the stretches at the indices ``unseen``, each once."""
        hashes, first = np.unique(stretches.hashes[unseen], return_index=True)
        texts = [stretches[index] for index in unseen[first]]
        self._table.add(hashes, texts, self._tokenizer.encode_batch(texts, parse_special=False))

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
