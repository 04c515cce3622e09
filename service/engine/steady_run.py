"""Steps in which the same sequences sample one token after another: their books are kept later.

In most steps of an engine nothing happens but that: nobody joins, ends or is due an event. What
each sequence would note is then the same for all of them, and is noted once for many steps.
"""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf

import numpy as np

from model.state import IntArray
from service.engine.sequence import Sequence


class SteadyRun:
    """Tokens that ``sequences`` have sampled and not noted, from a step on that all have noted.

    Args:
        sequences: in the order of the rows; each is about to feed the token it sampled last.
        special: tokens after which a step is not like the one before, whoever samples them.

    Attributes:
        sequences: as given.
        slots: theirs.
        token_ids: [rows] int32, what the next step feeds.
        positions: how many tokens each has sampled, noted or not.
    """

    def __init__(self, sequences: list[Sequence], special: frozenset[int]) -> None:
        self.sequences = sequences
        self.slots = [sequence.slot for sequence in sequences]
        self.token_ids: IntArray = np.array([each.next_token for each in sequences], np.int32)
        self.positions = [sequence.num_sampled for sequence in sequences]
        self._special = special.union(*(sequence.stop_ids for sequence in sequences))
        self._unnoted: list[IntArray] = []
        self._most = min(sequence.num_until_due for sequence in sequences)

    def takes(self, token_ids: IntArray) -> bool:
        """Whether ``token_ids`` [rows] are tokens like others, and no sequence has to note any now.

        If so, they are taken; if not, the sequences have noted what came before them.
        """
        if len(self._unnoted) + 1 < self._most and self._special.isdisjoint(token_ids.tolist()):
            self._unnoted.append(token_ids)
            self.token_ids = token_ids
            self.positions = [position + 1 for position in self.positions]
            return True
        self.note()
        return False

    def note(self) -> None:
        """Has every sequence note what it has sampled; the run is over."""
        if self._unnoted:
            columns = np.stack(self._unnoted, axis=1).tolist()
            for sequence, token_ids in zip(self.sequences, columns, strict=True):
                sequence.take_all(token_ids)


def can_run_steadily(sequences: SequenceOf[Sequence], end_of_text_id: int) -> bool:
    """Whether all that ``sequences`` have to do is to feed a token and to sample the next.

    An end of text is fed to a state of zeros, which is more.
    """
    return all(
        sequence.num_read >= len(sequence.prompt)
        and sequence.next_token not in (None, end_of_text_id)
        and sequence.samples
        and not sequence.to_be_kept
        and sequence.counts is None
        and sequence.job.logprobs is None
        and sequence.num_sampled >= sequence.job.min_tokens
        and sequence.num_until_due > 1
        for sequence in sequences
    )
