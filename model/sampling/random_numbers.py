"""Random numbers without a stream: a pure function of (seed, candidate, position).

A token's number depends on nothing drawn before it, by this sequence or any other, so that a
sequence comes out the same alone, in any batch and after a restart in its middle. The function is
SplitMix64 (Steele, Lea & Flood 2014, Fast Splittable Pseudorandom Number Generators) used as a
counter-based generator: two rounds of its mixing function over a counter, each with a key.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

UInt64Array = NDArray[np.uint64]

#: The arrays cost about the same for so many positions as for one.
_STEPS_AHEAD = 16

_MASK = 2**64 - 1
_GAMMA = 0x9E3779B97F4A7C15
#: Sets the second key apart from every mixed counter: it must not be one of them.
_SECOND_KEY = 0xD6E8FEB86659FD93
_GAMMA_ARRAY = np.array(_GAMMA, np.uint64)
_MULTIPLIER_1 = np.array(0xBF58476D1CE4E5B9, np.uint64)
_MULTIPLIER_2 = np.array(0x94D049BB133111EB, np.uint64)
_SHIFT_30, _SHIFT_27, _SHIFT_31, _SHIFT_11 = (np.array(n, np.uint64) for n in (30, 27, 31, 11))


def stream_keys(seed: int, candidate: int) -> tuple[int, int]:
    """Two 64-bit keys for candidate ``candidate`` of ``seed`` (signed 64 bits)."""
    first = _mix(((seed & _MASK) + _GAMMA) & _MASK)
    first = _mix((first + (candidate + 1) * _GAMMA) & _MASK)
    return first, _mix(first ^ _SECOND_KEY)


def uniforms(keys: UInt64Array, positions: UInt64Array) -> NDArray[np.float64]:
    """Numbers in [0, 1), multiples of 2**-53, for the tokens at ``positions``.

    Args:
        keys: [2, ...], the keys of each number's sequence from ``stream_keys``.
        positions: of a shape to go with that of one of the keys.
    """
    mixed = _mix_array(positions * _GAMMA_ARRAY + keys[0])
    mixed = _mix_array(mixed ^ keys[1])
    return (mixed >> _SHIFT_11).astype(np.float64) * 2.0**-53


def next_uniform(draw: float) -> float:
    """A further number for a token whose first, ``draw``, is used up; a function of it alone."""
    return (_mix(int(draw * 2.0**53) ^ _SECOND_KEY) >> 11) * 2.0**-53


class UniformSteps:
    """Numbers for rows that mostly go on by one position each: worked out several steps ahead.

    Args:
        keys: one pair from ``stream_keys`` per row.
    """

    def __init__(self, keys: Sequence[tuple[int, int]]) -> None:
        self._keys = np.array(keys, np.uint64).T[:, None]
        self._ahead: list[NDArray[np.float64]] = []
        self._expected: list[int] = []

    def at(self, positions: list[int]) -> NDArray[np.float64]:
        """The number of each row at its position: [rows]."""
        if not self._ahead or positions != self._expected:
            steps = np.arange(_STEPS_AHEAD, dtype=np.uint64)[:, None]
            wanted = np.array(positions, np.uint64) + steps
            self._ahead = list(uniforms(self._keys, wanted)[::-1])
        self._expected = [position + 1 for position in positions]
        return self._ahead.pop()


def _mix(value: int) -> int:
    """The finaliser of SplitMix64: a bijection of 64-bit words."""
    value = ((value ^ (value >> 30)) * int(_MULTIPLIER_1)) & _MASK
    value = ((value ^ (value >> 27)) * int(_MULTIPLIER_2)) & _MASK
    return value ^ (value >> 31)


def _mix_array(values: UInt64Array) -> UInt64Array:
    """``_mix`` of every element; arrays wrap around silently."""
    values = (values ^ (values >> _SHIFT_30)) * _MULTIPLIER_1
    values = (values ^ (values >> _SHIFT_27)) * _MULTIPLIER_2
    return values ^ (values >> _SHIFT_31)
