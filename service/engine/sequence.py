"""One running job: how far it has read and written, and the events it has not sent yet.

A sequence alternates between having the logits of its next token and feeding a token to get the
next ones. Its prompt is first *read* in chunks, without logits, as far as no logits are needed;
from there on it takes part in every step.
"""

from __future__ import annotations

from collections.abc import Hashable

import numpy as np

from model.config import ModelConfig
from model.sampling import TokenCounts
from model.state import IntArray
from service.engine.request import Job, Started
from service.engine.scores import TokenRow

#: A job as the engine knows it: who submitted it, and what they call it.
JobKey = tuple[Hashable, str]


class Sequence:
    """A job in slot ``slot``.

    Attributes:
        request: number of the request it belongs to, whose jobs were submitted together.
        num_read: prompt tokens the state has consumed, or will have after the step that feeds
            ``next_token``.
        next_token: what the next step feeds; None if the logits follow from the state as it is.
        start: index of the prompt token the reading starts at: behind the last end token.
        origin: what the state cache knows the start of the reading by.
        unsent_start: that it has started, if no event has told of it yet.
        unsent_token_ids: sampled tokens no event has told of yet.
        unsent_scores: the same for scores, of prompt tokens or of sampled ones.
        num_scores_sent: prompt tokens whose scores have been sent.
        to_be_kept: the state after the next step is that after the whole part that is only read.
        stop_ids: tokens that end it.
        not_yet_ids: tokens not to be sampled before ``min_tokens``.
    """

    def __init__(
        self, key: JobKey, job: Job, slot: int, end_of_text_id: int, config: ModelConfig
    ) -> None:
        self.key = key
        self.job = job
        self.slot = slot
        self.request = 0
        self.prompt = np.array(job.prompt_token_ids, np.int32)
        self.num_unscored = self._count_unscored()
        ends = np.flatnonzero(self.prompt[: self.num_unscored] == end_of_text_id)
        self.start = int(ends[-1]) + 1 if ends.size else 0
        self.origin = b"" if job.state is None or ends.size else job.state
        self.num_read = self.start
        self.next_token: int | None = None
        self.num_sampled = 0
        self.counts = self._new_counts(config.vocab_size)
        self.unsent_start: Started | None = None
        self.unsent_token_ids: list[int] = []
        self.unsent_scores: list[TokenRow] = []
        self.cached_tokens = 0
        self.queue_seconds = 0.0
        self.started_at = 0.0
        self.read_at: float | None = None
        self.num_scores_sent = 0
        self.to_be_kept = False
        ends_with = () if job.ignore_eos else (end_of_text_id,)
        self.stop_ids = frozenset((*ends_with, *job.stop_token_ids))
        self.not_yet_ids = (end_of_text_id, *job.stop_token_ids)

    @property
    def wants_logits(self) -> bool:
        """Whether anything is to be known about what follows the part of the prompt just read."""
        job = self.job
        return job.max_tokens > 0 or job.next_top_k is not None or self.num_scored > 0

    @property
    def num_scored(self) -> int:
        """Prompt tokens to score."""
        return len(self.prompt) - self.num_unscored

    @property
    def num_to_read(self) -> int:
        """Prompt tokens left to read in chunks: the last one before logits is fed by a step."""
        left = self.num_unscored - self.num_read
        return left - 1 if self.wants_logits and left > 0 else left

    @property
    def unread_part(self) -> IntArray:
        """The tokens the state has not consumed of those that are only read."""
        return self.prompt[self.num_read : self.num_unscored]

    @property
    def samples(self) -> bool:
        """Whether, once the prompt is fed, logits are for sampling: tokens are left to draw."""
        return self.num_sampled < self.job.max_tokens

    @property
    def needs_last_step(self) -> bool:
        """Whether the last token is fed too, for the state, the tree or for what may follow."""
        job = self.job
        if job.growth is not None:
            return True
        return job.return_state or job.next_top_k is not None or self.samples

    @property
    def num_until_due(self) -> int:
        """After so many more tokens it has sampled them all, or an event is due."""
        until_event = self.job.tokens_per_event - len(self.unsent_token_ids)
        return min(self.job.max_tokens - self.num_sampled, until_event)

    def take(self, token_id: int) -> None:
        """Appends a sampled token, which the next step feeds."""
        self.num_sampled += 1
        self.unsent_token_ids.append(token_id)
        self.next_token = token_id
        if self.counts is not None:
            self.counts.add(token_id)

    def take_all(self, token_ids: list[int]) -> None:
        """``take`` for several tokens, at least one, of a sequence without ``counts``."""
        self.num_sampled += len(token_ids)
        self.unsent_token_ids += token_ids
        self.next_token = token_ids[-1]

    def end_reading(self) -> None:
        """All that is only read has been read, but for the token that the first step feeds."""
        if self.wants_logits and self.num_read < self.num_unscored:
            self.next_token = int(self.prompt[self.num_read])
            self.num_read += 1
            self.to_be_kept = True

    def _count_unscored(self) -> int:
        if self.job.prompt_logprobs is None:
            return len(self.prompt)
        return min(self.job.prompt_logprobs_from, len(self.prompt))

    def _new_counts(self, vocab_size: int) -> TokenCounts | None:
        if not self.job.sampling.has_penalties:
            return None
        return TokenCounts(vocab_size, self.job.prompt_token_ids)
