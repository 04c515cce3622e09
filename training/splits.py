"""Which document trains, validates, tests, or is dropped: decided by the hash of its text."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.errors import CorpusError

Split = Literal["train", "validation", "test"]

#: In the order of their numbers in ``SplitPlan.assignments``.
SPLITS: tuple[Split, ...] = ("train", "validation", "test")
DROPPED = len(SPLITS)


class DocumentHash(NamedTuple):
    """Two independent 64-bit halves of a hash of a document's text.

    ``identity`` says whether two documents are the same and which split one belongs to;
    ``lottery`` decides what is sampled.
    """

    identity: int
    lottery: int


def document_hash(content: bytes) -> DocumentHash:
    """The hash of a document's UTF-8 bytes; the same on every machine."""
    digest = hashlib.blake2b(content, digest_size=16).digest()
    return DocumentHash(int.from_bytes(digest[:8], "little"), int.from_bytes(digest[8:], "little"))


@dataclass(frozen=True)
class SplitPlan:
    """What becomes of each document.

    Attributes:
        assignments: [documents] uint8, in reading order: position in ``SPLITS``, or ``DROPPED``.
    """

    assignments: NDArray[np.uint8]

    def count(self, split: Split) -> int:
        """Documents in ``split``."""
        return int(np.count_nonzero(self.assignments == SPLITS.index(split)))

    @property
    def num_dropped(self) -> int:
        """Documents left out because they occur twice."""
        return int(np.count_nonzero(self.assignments == DROPPED))


def plan_splits(
    hashes: NDArray[np.uint64],
    sizes: NDArray[np.int64],
    fixed: NDArray[np.uint8],
    *,
    validation_share: float,
    test_share: float,
) -> SplitPlan:
    """Assign documents to splits.

    A document given for one split stays there. The others are ordered by their hash: the first of
    them, up to ``test_share`` of all text, are the test, the next validation, the rest trains. So
    the shares hold for few documents as for many, the order of reading does not matter, and when a
    corpus grows few documents change sides. Of equal documents only one is kept, and a held-out
    one rather than another, so that no test text is trained on.

    Args:
        hashes: [documents], ``DocumentHash.identity`` in reading order.
        sizes: [documents], length of each; shares are of their sum.
        fixed: [documents], position in ``SPLITS`` of the split a document was given for, or
            ``DROPPED`` where the hash decides.
        validation_share: 0 where validation documents are given.
        test_share: 0 where test documents are given.

    Raises:
        CorpusError: there are too few different documents.
    """
    assignments = fixed.copy()
    free = _first_of_equals(hashes, fixed)
    by_hash = free[np.argsort(hashes[free])]
    total = sizes[by_hash].sum()
    num_test = _num_to_reach(sizes[by_hash], test_share * total)
    num_validation = _num_to_reach(sizes[by_hash[num_test:]], validation_share * total)
    num_held_out = num_test + num_validation
    if num_held_out >= len(by_hash):
        raise CorpusError(
            f"it has only {len(by_hash)} different documents, too few to train on some and hold "
            "out others; add text"
        )
    assignments[by_hash[:num_test]] = SPLITS.index("test")
    assignments[by_hash[num_test:num_held_out]] = SPLITS.index("validation")
    assignments[by_hash[num_held_out:]] = SPLITS.index("train")
    return SplitPlan(assignments)


def _num_to_reach(sizes: NDArray[np.int64], wanted: float) -> int:
    """How many of ``sizes``, from the first on, it takes to reach ``wanted``."""
    return 0 if wanted <= 0.0 else int(np.searchsorted(np.cumsum(sizes), wanted)) + 1


def _first_of_equals(hashes: NDArray[np.uint64], fixed: NDArray[np.uint8]) -> NDArray[np.int64]:
    """Positions of the documents that the hash decides on: one of each group of equal ones.

    None of a group that has a document given for a split; those all stay, for a text that was
    given to be measured on is measured as it is.
    """
    order = np.lexsort((fixed == DROPPED, hashes))
    repeated = np.zeros(len(hashes), np.bool_)
    repeated[order[1:]] = hashes[order[1:]] == hashes[order[:-1]]
    return np.flatnonzero((fixed == DROPPED) & ~repeated)
