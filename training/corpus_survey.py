"""The first pass over a corpus: hashes, splits, and a sample to learn the tokenizer from."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.errors import CorpusError
from training.corpus_source import CorpusSource
from training.prepare_progress import PrepareProgress
from training.splits import DROPPED, SPLITS, SplitPlan, document_hash, plan_splits
from training.tokenizer_sample import TokenizerSample

MIN_CHARACTERS = 2_000


@dataclass(frozen=True)
class Survey:
    """What was found.

    Attributes:
        hashes: [documents] uint64, ``DocumentHash.identity`` in reading order.
        plan: the split of each document.
        sample: of documents to learn a tokenizer from, held-out ones among them.
        num_characters: of the corpus, without what was given for a split.
    """

    hashes: NDArray[np.uint64]
    plan: SplitPlan
    sample: TokenizerSample
    num_characters: int

    def training_texts(self) -> Iterator[str]:
        """The documents of the sample that are trained on."""
        train = SPLITS.index("train")
        return self.sample.texts(lambda ordinal: bool(self.plan.assignments[ordinal] == train))


def survey_corpus(
    source: CorpusSource,
    progress: PrepareProgress,
    *,
    validation_share: float,
    test_share: float,
    sample_characters: int,
) -> Survey:
    """Read all of ``source`` once.

    Raises:
        CorpusError: a file cannot be used, or there is too little text.
    """
    hashes, sizes, fixed = array("Q"), array("q"), bytearray()
    sample = TokenizerSample(sample_characters)
    num_characters = 0
    for ordinal, document in enumerate(source.documents()):
        split = source.given[document.file_index]
        hashed = document_hash(document.text.encode("utf-8"))
        hashes.append(hashed.identity)
        sizes.append(len(document.text))
        fixed.append(DROPPED if split is None else SPLITS.index(split))
        if split is None:
            num_characters += len(document.text)
            sample.offer(hashed.lottery, ordinal, document.text)
        progress.update("reading", document)
    if num_characters < MIN_CHARACTERS:
        raise CorpusError(
            f"{source.corpus} is too small: it holds {num_characters} characters of text; "
            f"{MIN_CHARACTERS} are the least"
        )
    identities = np.array(hashes, np.uint64)
    try:
        plan = plan_splits(
            identities,
            np.array(sizes, np.int64),
            np.array(fixed, np.uint8),
            validation_share=validation_share,
            test_share=test_share,
        )
    except CorpusError as error:
        raise CorpusError(f"{source.corpus} cannot be split: {error}") from error
    return Survey(identities, plan, sample, num_characters)
