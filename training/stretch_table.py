"""The token ids of stretches seen before, looked up many at a time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from training.stretches import Stretches
from training.token_file import TokenArray

#: More is forgotten, all at once; so memory is bounded.
MAX_STRETCHES = 500_000
MAX_CHARACTERS = 8_000_000
_FEWEST_BITS = 12
_MIXER = np.uint64(0xD6E8FEB86659FD93)
_NONE = -1


class StretchTable:
    """A hash table in arrays (open addressing, linear probing): hash of a stretch to its ids.

    The hash only says where to look: ``are_equal`` compares the characters.

    Args:
        dtype: of a token id.
    """

    def __init__(self, dtype: np.dtype[np.uint16] | np.dtype[np.uint32]) -> None:
        self._dtype = dtype
        self.clear()

    def __len__(self) -> int:
        """Stretches in it."""
        return len(self._hashes)

    @property
    def is_full(self) -> bool:
        """Whether it should be cleared before more is added."""
        return len(self) > MAX_STRETCHES or len(self._code_points) > MAX_CHARACTERS

    def clear(self) -> None:
        """Forgets all."""
        self._make_slots(_FEWEST_BITS)
        self._hashes = np.zeros(0, np.uint64)
        self._code_points = np.zeros(0, np.uint32)
        self._starts = np.zeros(0, np.int64)
        self._lengths = np.zeros(0, np.int64)
        self._token_ids: TokenArray = np.zeros(0, self._dtype)
        self._first_ids = np.zeros(0, np.int64)
        self._num_ids = np.zeros(0, np.int64)

    def find(self, hashes: NDArray[np.uint64]) -> NDArray[np.int32]:
        """[stretches]: the entry of each hash, or a negative number where there is none."""
        slots = self._first_slots(hashes)
        entries = self._slots[slots]
        looked_at = np.flatnonzero(entries >= 0)
        while len(looked_at):
            looked_at = looked_at[self._hashes[entries[looked_at]] != hashes[looked_at]]
            slots[looked_at] = self._next_slots(slots[looked_at])
            entries[looked_at] = self._slots[slots[looked_at]]
            looked_at = looked_at[entries[looked_at] >= 0]
        return entries

    def add(
        self,
        hashes: NDArray[np.uint64],
        texts: Sequence[str],
        token_ids: Sequence[Sequence[int]],
    ) -> None:
        """Remembers the ids of ``texts``, none of whose hashes is there yet."""
        entries = np.arange(len(self), len(self) + len(hashes), dtype=np.int32)
        lengths = np.array([len(text) for text in texts], np.int64)
        num_ids = np.array([len(ids) for ids in token_ids], np.int64)
        self._starts = _append(self._starts, len(self._code_points) + _offsets(lengths))
        self._lengths = _append(self._lengths, lengths)
        self._first_ids = _append(self._first_ids, len(self._token_ids) + _offsets(num_ids))
        self._num_ids = _append(self._num_ids, num_ids)
        joined = np.frombuffer("".join(texts).encode("utf-32-le"), "<u4")
        self._code_points = _append(self._code_points, joined)
        flat = np.fromiter((i for ids in token_ids for i in ids), self._dtype, num_ids.sum())
        self._token_ids = _append(self._token_ids, flat)
        self._hashes = _append(self._hashes, hashes)
        if 2 * len(self) > len(self._slots):
            self._make_slots((2 * len(self)).bit_length())
            entries, hashes = np.arange(len(self), dtype=np.int32), self._hashes
        self._place(entries, self._first_slots(hashes))

    def are_equal(self, stretches: Stretches, entries: NDArray[np.int32]) -> bool:
        """Whether every one of ``stretches`` has the characters of its entry."""
        if not np.array_equal(self._lengths[entries], stretches.lengths):
            return False
        shifts = np.repeat(self._starts[entries] - stretches.starts, stretches.lengths)
        shifts += np.arange(len(shifts))
        return np.array_equal(self._code_points[shifts], stretches.code_points)

    def ids(self, entries: NDArray[np.int32]) -> tuple[TokenArray, NDArray[np.int64]]:
        """The ids of all ``entries``, joined, and [stretches + 1] where those of each begin."""
        num_ids = self._num_ids[entries]
        begins = np.concatenate([[0], np.cumsum(num_ids)])
        places = np.repeat(self._first_ids[entries] - begins[:-1], num_ids)
        places += np.arange(len(places))
        return self._token_ids[places], begins

    def _make_slots(self, num_bits: int) -> None:
        """2^``num_bits`` free slots; at most half of them are ever taken."""
        self._slots = np.full(1 << num_bits, _NONE, np.int32)
        self._shift = np.uint64(64 - num_bits)

    def _first_slots(self, hashes: NDArray[np.uint64]) -> NDArray[np.int64]:
        return (((hashes ^ (hashes >> np.uint64(32))) * _MIXER) >> self._shift).astype(np.int64)

    def _next_slots(self, slots: NDArray[np.int64]) -> NDArray[np.int64]:
        return (slots + 1) & (len(self._slots) - 1)

    def _place(self, entries: NDArray[np.int32], slots: NDArray[np.int64]) -> None:
        """Puts ``entries`` into the first free slots from ``slots`` on."""
        while len(entries):
            free = self._slots[slots] == _NONE
            self._slots[slots[free]] = entries[free]
            # Of several that wanted one slot the last has it.
            left = self._slots[slots] != entries
            entries, slots = entries[left], self._next_slots(slots[left])


def _append(array: NDArray[Any], more: NDArray[Any]) -> NDArray[Any]:
    return np.concatenate([array, more])


def _offsets(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where things of these lengths begin when they lie one after the other."""
    return np.cumsum(lengths) - lengths
