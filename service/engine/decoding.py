"""One step of every sequence past its reading: feed a token, get logits, score or sample."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import NamedTuple

import numpy as np

from model.runtime.contract import Runtime
from model.sampling import NO_TOKEN, SamplingPlan
from model.state import FloatArray, IntArray
from service.engine.counters import Counters
from service.engine.reading import PromptReader
from service.engine.request import FinishReason, NextTokens
from service.engine.scores import next_tokens, score_rows
from service.engine.sequence import Sequence
from service.engine.slots import SlotStates

#: Where nobody waits for a token, so many tokens of a prompt are scored at once,
_STRETCH_TOKENS = 16
#: and about so many of all prompts in one step.
_SCORED_TOKENS = 64


class Ending(NamedTuple):
    """A sequence that ended in a step, and how; its slot still holds its last state."""

    sequence: Sequence
    finish_reason: FinishReason
    stop_token_id: int | None = None
    next: NextTokens | None = None


class _Stretch(NamedTuple):
    """Tokens of a prompt that are scored at once.

    Attributes:
        num_tokens: how many, from the next one on.
        to_its_end: the prompt ends with them, and the job with the logits behind it.
    """

    num_tokens: int
    to_its_end: bool


class Decoder:
    """Advances sequences by one token each, whatever each of them is about to do with it."""

    def __init__(
        self,
        runtime: Runtime,
        slots: SlotStates,
        reader: PromptReader,
        *,
        end_of_text_id: int,
        never: SequenceOf[int],
        counters: Counters,
    ) -> None:
        self._runtime = runtime
        self._counters = counters
        self._slots = slots
        self._reader = reader
        self._end_of_text_id = end_of_text_id
        self._never = tuple(never)
        self._group = _Group([], self._never)

    def step(self, sequences: SequenceOf[Sequence]) -> list[Ending]:
        """Advances all of ``sequences``, which must not be empty; returns those that ended."""
        if all(_is_to_be_scored(sequence) for sequence in sequences):
            return self._score_stretches(sequences)
        self._counters.count_step(len(sequences))
        ordered, logits = self._logits_of(sequences)
        to_score, to_sample, to_end = [], [], []
        for row, sequence in enumerate(ordered):
            if _is_to_be_scored(sequence):
                to_score.append(row)
            elif sequence.samples:
                to_sample.append(row)
            else:
                to_end.append(row)
        endings = [self._end(ordered[row], logits[row]) for row in to_end]
        if to_score:
            endings += self._score_next_of_each(*_select(to_score, ordered, logits))
        if to_sample:
            endings += self._sample(*_select(to_sample, ordered, logits))
        return endings

    def _logits_of(self, sequences: SequenceOf[Sequence]) -> tuple[list[Sequence], FloatArray]:
        """Logits after feeding each sequence its next token, or from its state if it has none."""
        fed = [sequence for sequence in sequences if sequence.next_token is not None]
        if len(fed) == len(sequences):
            return fed, self._feed(fed)
        idle = [sequence for sequence in sequences if sequence.next_token is None]
        logits = self._runtime.logits(self._slots.gather([s.slot for s in idle]))
        if fed:
            logits = np.concatenate([logits, self._feed(fed)])
        return idle + fed, logits

    def _states_of(self, sequences: SequenceOf[Sequence]) -> tuple[list[Sequence], FloatArray]:
        """States after feeding each sequence its next token, if it has one."""
        fed = [sequence for sequence in sequences if sequence.next_token is not None]
        idle = [sequence for sequence in sequences if sequence.next_token is None]
        states = self._slots.gather([sequence.slot for sequence in idle])
        if fed:
            states = np.concatenate([states, self._feed_without_logits(fed)])
        return idle + fed, states

    def _feed(self, sequences: list[Sequence]) -> FloatArray:
        """Reads the next token of each; returns the logits of what follows."""
        token_ids, states = self._next_tokens_and_states(sequences)
        logits, states = self._runtime.step(token_ids, states)
        self._have_read(sequences, states)
        return logits

    def _feed_without_logits(self, sequences: list[Sequence]) -> FloatArray:
        """Reads the next token of each; returns the states."""
        token_ids, states = self._next_tokens_and_states(sequences)
        states = self._runtime.prefill(token_ids[:, np.newaxis], states)
        self._have_read(sequences, states)
        return states

    def _next_tokens_and_states(self, sequences: list[Sequence]) -> tuple[IntArray, FloatArray]:
        """What each is to read next, and from which state: of zeros where a document begins."""
        token_ids = np.array([sequence.next_token for sequence in sequences], np.int32)
        states = self._slots.gather([sequence.slot for sequence in sequences])
        new_document = token_ids == self._end_of_text_id
        if new_document.any():
            states = np.where(new_document[:, None], np.float32(0.0), states)
        return token_ids, states

    def _have_read(self, sequences: list[Sequence], states: FloatArray) -> None:
        self._slots.scatter([sequence.slot for sequence in sequences], states)
        for row, sequence in enumerate(sequences):
            sequence.next_token = None
            if sequence.to_be_kept:
                sequence.to_be_kept = False
                self._reader.keep(sequence, states[row])

    def _end(self, sequence: Sequence, logits: FloatArray) -> Ending:
        return Ending(sequence, "length", next=self._next_tokens(sequence, logits))

    def _next_tokens(self, sequence: Sequence, logits: FloatArray) -> NextTokens | None:
        top_k = sequence.job.next_top_k
        if top_k is None:
            return None
        return next_tokens(logits, top_k, sequence.job.sampling.temperature)

    def _score_next_of_each(self, sequences: list[Sequence], logits: FloatArray) -> list[Ending]:
        """Scores the next token of each prompt by its logits."""
        self._score(sequences, logits, [_feed_next_of_prompt(sequence) for sequence in sequences])
        return _scored_to_the_end(sequences)

    def _score_stretches(self, sequences: SequenceOf[Sequence]) -> list[Ending]:
        """Scores several tokens of each prompt, where nobody waits for this step.

        Side by side are those of which as many tokens are scored; of many, some wait for the next
        step.
        """
        groups: dict[_Stretch, list[Sequence]] = {}
        num_tokens = 0
        for sequence in sequences:
            stretch = self._stretch(sequence)
            groups.setdefault(stretch, []).append(sequence)
            num_tokens += stretch.num_tokens
            if num_tokens >= _SCORED_TOKENS:
                break
        endings = []
        for stretch, group in groups.items():
            endings += self._score_stretch(group, stretch)
        return endings

    def _stretch(self, sequence: Sequence) -> _Stretch:
        """What to score of a prompt at once: no token behind the end of a document."""
        rest = sequence.prompt[sequence.num_read : sequence.num_read + _STRETCH_TOKENS]
        ends = np.flatnonzero(rest == self._end_of_text_id)
        num_tokens = int(ends[0]) + 1 if len(ends) else len(rest)
        to_its_end = (
            not len(ends)
            and sequence.num_read + num_tokens == len(sequence.prompt)
            and sequence.needs_last_step
            and not sequence.samples
        )
        return _Stretch(num_tokens, to_its_end)

    def _score_stretch(self, sequences: list[Sequence], stretch: _Stretch) -> list[Ending]:
        ordered, states = self._states_of(sequences)
        logits = self._runtime.logits(states)
        size = stretch.num_tokens
        tokens = np.stack([s.prompt[s.num_read : s.num_read + size] for s in ordered])
        num_fed = size if stretch.to_its_end else size - 1
        following, states = self._runtime.score(tokens[:, :num_fed], states)
        self._slots.scatter([sequence.slot for sequence in ordered], states)
        for _ in range(1 + num_fed):
            self._counters.count_step(len(ordered))
        for sequence, last in zip(ordered, tokens[:, -1], strict=True):
            sequence.num_read += size
            sequence.next_token = None if stretch.to_its_end else int(last)
        self._score(ordered, logits, tokens[:, 0])
        if size > 1:
            # As they lie in memory: all rows after one token, then all after the next.
            by_time = following[:, : size - 1].swapaxes(0, 1).reshape(-1, following.shape[2])
            self._score(ordered * (size - 1), by_time, tokens[:, 1:].T.ravel())
        if stretch.to_its_end:
            return [self._end(s, row[-1]) for s, row in zip(ordered, following, strict=True)]
        return _scored_to_the_end(ordered)

    def _score(
        self, sequences: SequenceOf[Sequence], logits: FloatArray, targets: IntArray | list[int]
    ) -> None:
        num_top = [sequence.job.prompt_logprobs or 0 for sequence in sequences]
        scores = score_rows(logits, np.array(targets, np.int32), num_top, with_ranks=True)
        for sequence, score in zip(sequences, scores, strict=True):
            sequence.unsent_scores.append(score)

    def _sample(self, sequences: list[Sequence], logits: FloatArray) -> list[Ending]:
        if self._group.sequences != sequences:
            self._group = _Group(sequences, self._never)
        group = self._group
        positions = [sequence.num_sampled for sequence in sequences]
        token_ids = group.plan.sample(logits, positions, group.counts, group.banned())
        if group.scored_rows:
            self._score_sampled(sequences, logits, token_ids)
        endings = []
        for row, (sequence, token_id) in enumerate(zip(sequences, token_ids.tolist(), strict=True)):
            if token_id == NO_TOKEN:
                endings.append(Ending(sequence, "error"))
                continue
            sequence.take(token_id)
            if token_id in sequence.stop_ids:
                following = self._next_tokens(sequence, logits[row])
                endings.append(Ending(sequence, "stop", token_id, following))
            elif sequence.num_sampled >= sequence.job.max_tokens and not sequence.needs_last_step:
                endings.append(Ending(sequence, "length"))
        return endings

    def _score_sampled(
        self, sequences: list[Sequence], logits: FloatArray, token_ids: IntArray
    ) -> None:
        rows = [row for row in self._group.scored_rows if token_ids[row] != NO_TOKEN]
        if not rows:
            return
        scored, scored_logits = _select(rows, sequences, logits)
        num_top = [sequence.job.logprobs or 0 for sequence in scored]
        scores = score_rows(scored_logits, token_ids[rows], num_top, with_ranks=False)
        for sequence, score in zip(scored, scores, strict=True):
            sequence.unsent_scores.append(score)


class _Group:
    """Sequences that sample together, with all that stays the same from step to step."""

    def __init__(self, sequences: list[Sequence], never: SequenceOf[int]) -> None:
        self.sequences = sequences
        self.plan = SamplingPlan([sequence.job.sampling for sequence in sequences], never)
        self.counts = {
            row: sequence.counts
            for row, sequence in enumerate(sequences)
            if sequence.counts is not None
        }
        self.scored_rows = [
            row for row, sequence in enumerate(sequences) if sequence.job.logprobs is not None
        ]
        self._not_yet = {
            row: sequence
            for row, sequence in enumerate(sequences)
            if sequence.num_sampled < sequence.job.min_tokens
        }

    def banned(self) -> dict[int, SequenceOf[int]]:
        """By row, the tokens not to be sampled this time."""
        return {
            row: sequence.not_yet_ids
            for row, sequence in self._not_yet.items()
            if sequence.num_sampled < sequence.job.min_tokens
        }


def _is_to_be_scored(sequence: Sequence) -> bool:
    """Whether the next token of its prompt waits for its score."""
    return sequence.num_read < len(sequence.prompt)


def _scored_to_the_end(sequences: SequenceOf[Sequence]) -> list[Ending]:
    """Those that end with the scores of their prompts."""
    return [
        Ending(sequence, "length")
        for sequence in sequences
        if not _is_to_be_scored(sequence) and not sequence.needs_last_step
    ]


def _feed_next_of_prompt(sequence: Sequence) -> int:
    """Has the next step feed the next token of the prompt, which is returned."""
    token_id = int(sequence.prompt[sequence.num_read])
    sequence.next_token = token_id
    sequence.num_read += 1
    return token_id


def _select(
    rows: list[int], sequences: list[Sequence], logits: FloatArray
) -> tuple[list[Sequence], FloatArray]:
    if len(rows) == len(sequences):
        return sequences, logits
    return [sequences[row] for row in rows], logits[rows]
