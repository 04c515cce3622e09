"""What an exporter and a runtime agree on: the names inside a network file, and its seal.

A network file is a LiteRT file with one signature for every size it can be run at:

=====================  ===================================================================
``step_<B>``           ``ids`` [B] int32, ``state`` [B, S] -> ``logits`` [B, V], ``state``
``logits_<B>``         ``state`` -> ``logits``
``prefill_<B>x<T>``    ``ids`` [B, T] int32, ``state`` -> ``state``
``score_<B>x<T>``      ``ids`` [B, T] int32, ``state`` -> ``logits`` [T * B, V], ``state``
=====================  ===================================================================

All but ``ids`` are float32; S is ``ModelConfig.state_size``, V the vocabulary. Files of earlier
versions have no ``score`` signatures, and need none.
"""

from __future__ import annotations

import os
import re
import zlib
from collections.abc import Iterable
from pathlib import Path

from model.errors import BundleCorruptError

_SEAL_BYTES = 16
_CHUNK_BYTES = 1 << 20


def step_name(batch: int) -> str:
    """Signature that reads one token in each of ``batch`` rows."""
    return f"step_{batch}"


def logits_name(batch: int) -> str:
    """Signature that computes the logits of ``batch`` states."""
    return f"logits_{batch}"


def prefill_name(batch: int, time: int) -> str:
    """Signature that reads ``time`` tokens in each of ``batch`` rows."""
    return f"prefill_{batch}x{time}"


def score_name(batch: int, time: int) -> str:
    """Signature that reads ``time`` tokens in each of ``batch`` rows, with logits after each."""
    return f"score_{batch}x{time}"


def step_batches(names: Iterable[str]) -> list[int]:
    """Batch sizes of the ``step`` signatures among ``names``, ascending."""
    return sorted(int(m[1]) for name in names if (m := re.fullmatch(r"step_(\d+)", name)))


def logits_batches(names: Iterable[str]) -> list[int]:
    """Batch sizes of the ``logits`` signatures among ``names``, ascending."""
    return sorted(int(m[1]) for name in names if (m := re.fullmatch(r"logits_(\d+)", name)))


def prefill_chunks(names: Iterable[str]) -> list[tuple[int, int]]:
    """(batch, time) of the ``prefill`` signatures among ``names``, ascending."""
    return _chunks("prefill", names)


def score_chunks(names: Iterable[str]) -> list[tuple[int, int]]:
    """(batch, time) of the ``score`` signatures among ``names``, ascending."""
    return _chunks("score", names)


def of_at_most(names: Iterable[str], most_rows: int) -> list[str]:
    """The signatures among ``names`` that are for at most ``most_rows`` rows."""
    rows = ((name, re.fullmatch(r"[a-z]+_(\d+)(x\d+)?", name)) for name in names)
    return [name for name, match in rows if match and int(match[1]) <= most_rows]


def _chunks(kind: str, names: Iterable[str]) -> list[tuple[int, int]]:
    matches = (re.fullmatch(rf"{kind}_(\d+)x(\d+)", name) for name in names)
    return sorted((int(m[1]), int(m[2])) for m in matches if m)


def sealed(network: bytes) -> bytes:
    """``network`` with its seal behind it, 16 bytes that end in a checksum of all before them.

    LiteRT follows the addresses in a file wherever they lead, so a damaged one can end the process.
    A seal is no protection against intent; a bundle's SHA256SUMS are.
    """
    return network + _seal(zlib.crc32(network))


def check_sealed(network: Path) -> None:
    """Refuses a file that is missing, cut short or altered.

    Raises:
        BundleCorruptError: it cannot be read, or its seal is missing or does not fit.
    """
    checksum = 0
    try:
        with network.open("rb") as file:
            left = file.seek(0, os.SEEK_END) - _SEAL_BYTES
            file.seek(0)
            while left > 0 and (chunk := file.read(min(left, _CHUNK_BYTES))):
                checksum = zlib.crc32(chunk, checksum)
                left -= len(chunk)
            seal = file.read()
    except OSError as error:
        raise BundleCorruptError(f"{network} cannot be read: {error.strerror}") from error
    if seal != _seal(checksum):
        raise BundleCorruptError(f"{network} is no network file, or it was cut short or altered")


def _seal(checksum: int) -> bytes:
    return b"network ends" + checksum.to_bytes(4, "little")
