"""Token ids on disk: little-endian uint16, or uint32 where a vocabulary needs it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray

from model.errors import CorpusError

TokenArray = NDArray[np.unsignedinteger]

_LARGEST_SMALL_VOCAB = 65_536


def token_dtype(vocab_size: int) -> np.dtype[np.uint16] | np.dtype[np.uint32]:
    """The type of ids on disk: uint16 while every id is below 65,536, else uint32."""
    return np.dtype("<u2") if vocab_size <= _LARGEST_SMALL_VOCAB else np.dtype("<u4")


@dataclass(frozen=True)
class TokenFile:
    """Ids of one split, document after document, each led by ``<|endoftext|>`` (id 0).

    Attributes:
        path: a ``.bin`` file.
        vocab_size: of the tokenizer that wrote it.
    """

    path: Path
    vocab_size: int

    def __len__(self) -> int:
        """Number of ids."""
        return self._size_bytes() // token_dtype(self.vocab_size).itemsize

    def ids(self) -> TokenArray:
        """All ids [length], mapped from disk and read only.

        Raises:
            CorpusError: the file is missing, or was cut short within an id.
        """
        dtype = token_dtype(self.vocab_size)
        if self._size_bytes() % dtype.itemsize:
            raise CorpusError(f"{self.path} is damaged: it ends within a token id; prepare again")
        if len(self) == 0:
            return np.zeros(0, dtype)
        return np.memmap(self.path, dtype, mode="r")

    def _size_bytes(self) -> int:
        try:
            return self.path.stat().st_size
        except OSError as error:
            raise CorpusError(f"{self.path} cannot be read: {error.strerror}") from error


class TokenFileWriter:
    """Appends ids to a new file; a context manager.

    Attributes:
        num_tokens: ids written so far.
    """

    def __init__(self, path: Path, vocab_size: int) -> None:
        """Create the file at ``path``.

        Raises:
            FileExistsError: there is one.
        """
        self.num_tokens = 0
        self._dtype = token_dtype(vocab_size)
        self._stream = path.open("xb")

    def append(self, token_ids: Iterable[int] | TokenArray) -> None:
        """Write ``token_ids``, all within the vocabulary, behind what is there."""
        if not isinstance(token_ids, np.ndarray):
            token_ids = np.fromiter(token_ids, self._dtype)
        self._stream.write(token_ids.astype(self._dtype, copy=False).tobytes())
        self.num_tokens += len(token_ids)

    def __enter__(self) -> TokenFileWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()
