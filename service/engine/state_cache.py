"""States after prompt prefixes seen lately: ``StateCache``, so that no prefix is read twice.

The state after a prefix is a few kB whatever the prefix's length, and the runtime gives the same
bits however a prompt is cut; so a hit changes the time an answer takes and nothing else.
"""

from __future__ import annotations

import hashlib
from collections import Counter, OrderedDict
from typing import NamedTuple

import numpy as np

from model.state import FloatArray, IntArray

#: States are kept after every so many tokens of a prompt, and at its end.
CUT_TOKENS = 64
#: From here on a long prompt leaves fewer, and ever fewer, however long it gets: it shall not push
#: out everybody else's, nor be hashed from its start again and again.
_SPARSE_FROM_TOKENS = 1024
_SPARSE_CUT_TOKENS = 1024
_MAX_CUTS_PER_DOUBLING = 16


def is_cut(num_tokens: int) -> bool:
    """Whether the state after the first ``num_tokens`` of a prompt is worth keeping."""
    if num_tokens <= _SPARSE_FROM_TOKENS:
        return num_tokens > 0 and num_tokens % CUT_TOKENS == 0
    doubling = 1 << (num_tokens.bit_length() - 1)
    step = max(_SPARSE_CUT_TOKENS, doubling // _MAX_CUTS_PER_DOUBLING)
    return num_tokens % step == 0


class Hit(NamedTuple):
    """The longest prefix found: ``state`` [state_size] after its ``num_tokens`` tokens."""

    num_tokens: int
    state: FloatArray


class StateCache:
    """Least recently used states go first once they take more than ``max_bytes``.

    A prefix is known by the 128-bit digest of what it starts from and its tokens: two different
    prefixes never share one in practice (2**64 prefixes for an even chance).
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._num_bytes = 0
        self._states: OrderedDict[tuple[int, bytes], FloatArray] = OrderedDict()
        self._lengths: Counter[int] = Counter()

    def __len__(self) -> int:
        return len(self._states)

    def find(self, origin: bytes, token_ids: IntArray) -> Hit | None:
        """The longest known prefix of ``token_ids`` [tokens] int32, read from ``origin``.

        Args:
            origin: what the prompt starts from: the bytes of a state, or empty for the initial one.
            token_ids: the prompt.
        """
        lengths = sorted(length for length in self._lengths if length <= len(token_ids))
        for key in reversed(_digests(origin, token_ids, lengths)):
            state = self._states.get(key)
            if state is not None:
                self._states.move_to_end(key)
                return Hit(key[0], state)
        return None

    def keep(self, origin: bytes, token_ids: IntArray, state: FloatArray) -> None:
        """Keeps ``state`` [state_size], the one after reading ``token_ids`` from ``origin``."""
        length = len(token_ids)
        if not length or state.nbytes > self._max_bytes:
            return
        ((_, digest),) = _digests(origin, token_ids, [length])
        key = (length, digest)
        if key in self._states:
            self._states.move_to_end(key)
            return
        self._states[key] = state.copy()
        self._lengths[length] += 1
        self._num_bytes += state.nbytes
        while self._num_bytes > self._max_bytes:
            (old_length, _), old_state = self._states.popitem(last=False)
            self._num_bytes -= old_state.nbytes
            self._lengths[old_length] -= 1
            if not self._lengths[old_length]:
                del self._lengths[old_length]


def _digests(origin: bytes, token_ids: IntArray, lengths: list[int]) -> list[tuple[int, bytes]]:
    """Digests of the prefixes of ``token_ids`` of ``lengths``, ascending, in one pass over it."""
    content = np.ascontiguousarray(token_ids, "<i4").data.cast("B")
    running = hashlib.blake2b(len(origin).to_bytes(8, "little") + origin, digest_size=16)
    digests = []
    done = 0
    for length in lengths:
        running.update(content[4 * done : 4 * length])
        done = length
        digests.append((length, running.copy().digest()))
    return digests
