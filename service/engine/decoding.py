"""One step of every sequence past its reading: feed a token, get logits, score or sample."""

from __future__ import annotations

from collections.abc import Sequence as SequenceOf
from typing import NamedTuple

import numpy as np

from model.kernel.library import Kernel
from model.runtime.contract import Runtime
from model.sampling import NO_TOKEN, plan_sampling
from model.state import FloatArray, IntArray
from service.engine.counters import Counters
from service.engine.reading import PromptReader
from service.engine.request import FinishReason, NextTokens
from service.engine.scores import next_tokens, score_rows
from service.engine.sequence import Sequence
from service.engine.slots import SlotStates
from service.engine.steady_run import SteadyRun, can_run_steadily

#: Where nobody waits for a token, so many tokens of a prompt are scored at once,
_STRETCH_TOKENS = 16
#: so many of each where there are several of different lengths, which networks do side by side,
_SHARED_TOKENS = 8
#: and about so many of all prompts in one step.
_SCORED_TOKENS = 64


class Ending(NamedTuple):
    """A sequence that ended in a step, and how; its slot still holds its last state."""

    sequence: Sequence
    finish_reason: FinishReason
    stop_token_id: int | None = None
    next: NextTokens | None = None


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
        kernel: Kernel | None,
        counters: Counters,
    ) -> None:
        self._runtime = runtime
        self._counters = counters
        self._slots = slots
        self._reader = reader
        self._end_of_text_id = end_of_text_id
        self._never = tuple(never)
        self._kernel = kernel
        self._group = _Group([], self._never, kernel)
        self._run: SteadyRun | None = None

    @property
    def runs_steadily(self) -> bool:
        """Whether in the last step nothing happened that anybody waits for."""
        return self._run is not None

    def settle(self) -> None:
        """Brings the sequences up to date, which in a steady run are behind their slots."""
        if self._run is not None:
            self._run.note()
            self._run = None

    def step(self, sequences: list[Sequence]) -> list[Ending]:
        """Advances all of ``sequences``, which must not be empty; returns those that ended.

        Afterwards the sequences are up to date, unless they run steadily.
        """
        if self._run is not None and self._run.sequences == sequences:
            return self._step_steadily(self._run)
        self.settle()
        endings = self._step_one_by_one(sequences)
        if not endings and can_run_steadily(sequences, self._end_of_text_id):
            self._run = SteadyRun(list(sequences), frozenset((NO_TOKEN, self._end_of_text_id)))
        return endings

    def _step_steadily(self, run: SteadyRun) -> list[Ending]:
        """A step in which all feed a token and sample the next."""
        self._counters.count_step(len(run.sequences))
        logits, states = self._runtime.step(run.token_ids, self._slots.gather(run.slots))
        self._slots.scatter(run.slots, states)
        token_ids = self._group_of(run.sequences).plan.sample(logits, run.positions)
        if run.takes(token_ids):
            return []
        self._run = None
        for sequence in run.sequences:
            sequence.next_token = None
        return self._take(run.sequences, logits, token_ids)

    def _step_one_by_one(self, sequences: list[Sequence]) -> list[Ending]:
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

    def _feed(self, sequences: list[Sequence]) -> FloatArray:
        """Reads the next token of each; returns the logits of what follows."""
        token_ids, states = self._next_tokens_and_states(sequences)
        logits, states = self._runtime.step(token_ids, states)
        self._have_read(sequences, states)
        return logits

    def _next_tokens_and_states(self, sequences: list[Sequence]) -> tuple[IntArray, FloatArray]:
        """What each is to read next, and from which state."""
        token_ids = np.array([sequence.next_token for sequence in sequences], np.int32)
        return token_ids, self._states_before(sequences, token_ids)

    def _states_before(self, sequences: list[Sequence], token_ids: IntArray) -> FloatArray:
        """The states from which ``token_ids`` are read: of zeros where a document begins."""
        states = self._slots.gather([sequence.slot for sequence in sequences])
        new_document = token_ids == self._end_of_text_id
        if new_document.any():
            states = np.where(new_document[:, None], np.float32(0.0), states)
        return states

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
        return next_tokens(logits, top_k, sequence.job.sampling.temperature, self._kernel)

    def _score_next_of_each(self, sequences: list[Sequence], logits: FloatArray) -> list[Ending]:
        """Scores the next token of each prompt by its logits."""
        self._score(sequences, logits, [_feed_next_of_prompt(sequence) for sequence in sequences])
        return _scored_to_the_end(sequences)

    def _score_stretches(self, sequences: SequenceOf[Sequence]) -> list[Ending]:
        """Scores several tokens of each prompt, where nobody waits for this step.

        Of many, some wait for the next step.
        """
        endings = []
        first = [s for s in sequences if s.next_token is None or s.to_be_kept]
        if first:
            self._counters.count_step(len(first))
            endings += self._score_next_of_each(*self._logits_of(first))
        stretches: list[tuple[Sequence, IntArray]] = []
        num_tokens = 0
        for sequence in sequences:
            if _is_to_be_scored(sequence) and num_tokens < _SCORED_TOKENS:
                stretches.append((sequence, self._stretch(sequence)))
                num_tokens += min(len(stretches[-1][1]), _SHARED_TOKENS)
        for group in _side_by_side(stretches):
            endings += self._score_stretch(*group)
        return endings

    def _stretch(self, sequence: Sequence) -> IntArray:
        """The tokens to feed to score a part of a prompt: [tokens], the pending one first.

        An end-of-text token can only be the first, since the state is zeroed before it. The last
        token of the prompt is fed if the job ends with the logits behind it.
        """
        feeds_last = sequence.needs_last_step and not sequence.samples
        stop = len(sequence.prompt) if feeds_last else len(sequence.prompt) - 1
        rest = sequence.prompt[
            sequence.num_read : min(stop, sequence.num_read + _STRETCH_TOKENS - 1)
        ]
        ends = np.flatnonzero(rest == self._end_of_text_id)
        rest = rest[: ends[0]] if len(ends) else rest
        return np.concatenate([np.array([sequence.next_token], np.int32), rest])

    def _score_stretch(self, sequences: list[Sequence], token_ids: IntArray) -> list[Ending]:
        """Feeds ``token_ids`` [sequences, tokens] and scores what follows each of them."""
        size = token_ids.shape[1]
        for _ in range(size):
            self._counters.count_step(len(sequences))
        states = self._states_before(sequences, token_ids[:, 0])
        following, states = self._runtime.score(token_ids, states)
        self._slots.scatter([sequence.slot for sequence in sequences], states)
        # As they lie in memory: the logits of all rows after one token, then after the next.
        by_time = following.swapaxes(0, 1).reshape(-1, following.shape[2])
        targets = np.full((size, len(sequences)), -1, np.int32)
        for row, sequence in enumerate(sequences):
            scored = sequence.prompt[sequence.num_read : sequence.num_read + size]
            targets[: len(scored), row] = scored
            sequence.num_read += len(scored)
            sequence.next_token = int(scored[-1]) if len(scored) == size else None
        rows = np.flatnonzero(targets.ravel() >= 0)
        if len(rows) < len(by_time):
            # Only behind the last token of a prompt there is nothing to score.
            by_time = by_time[: len(rows)] if rows[-1] == len(rows) - 1 else by_time[rows]
        self._score(
            [sequences[row % len(sequences)] for row in rows.tolist()],
            by_time,
            targets.ravel()[rows],
        )
        endings = [
            self._end(sequence, following[row, -1])
            for row, sequence in enumerate(sequences)
            if sequence.next_token is None
        ]
        return endings + _scored_to_the_end([s for s in sequences if s.next_token is not None])

    def _score(
        self, sequences: SequenceOf[Sequence], logits: FloatArray, targets: IntArray | list[int]
    ) -> None:
        num_top = [sequence.job.prompt_logprobs or 0 for sequence in sequences]
        targets = np.array(targets, np.int32)
        scores = score_rows(logits, targets, num_top, with_ranks=True, kernel=self._kernel)
        for sequence, score in zip(sequences, scores, strict=True):
            sequence.unsent_scores.append(score)

    def _sample(self, sequences: list[Sequence], logits: FloatArray) -> list[Ending]:
        group = self._group_of(sequences)
        positions = [sequence.num_sampled for sequence in sequences]
        token_ids = group.plan.sample(logits, positions, group.counts, group.banned())
        if group.scored_rows:
            self._score_sampled(sequences, logits, token_ids)
        return self._take(sequences, logits, token_ids)

    def _group_of(self, sequences: list[Sequence]) -> _Group:
        """Those who sample together now, which are mostly those of the step before."""
        if self._group.sequences != sequences:
            self._group = _Group(sequences, self._never, self._kernel)
        return self._group

    def _take(
        self, sequences: list[Sequence], logits: FloatArray, token_ids: IntArray
    ) -> list[Ending]:
        """Gives each sequence the token it has sampled; returns those that end with it."""
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
        scores = score_rows(
            scored_logits, token_ids[rows], num_top, with_ranks=False, kernel=self._kernel
        )
        for sequence, score in zip(scored, scores, strict=True):
            sequence.unsent_scores.append(score)


class _Group:
    """Sequences that sample together, with all that stays the same from step to step."""

    def __init__(
        self, sequences: list[Sequence], never: SequenceOf[int], kernel: Kernel | None
    ) -> None:
        self.sequences = sequences
        self.plan = plan_sampling([each.job.sampling for each in sequences], never, kernel)
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


def _side_by_side(
    stretches: SequenceOf[tuple[Sequence, IntArray]],
) -> list[tuple[list[Sequence], IntArray]]:
    """``stretches`` in groups of equal lengths, cut short where that brings several together."""
    lengths = {len(token_ids) for _, token_ids in stretches}
    if len(lengths) == 1:
        kinds = [list(stretches)]
    else:
        kinds = [
            [one for one in stretches if len(one[1]) >= _SHARED_TOKENS],
            [one for one in stretches if len(one[1]) < _SHARED_TOKENS],
        ]
    groups = []
    for kind in filter(None, kinds):
        size = min(len(token_ids) for _, token_ids in kind)
        if len(kind) > 1 and len(lengths) > 1:
            size = min(size, _SHARED_TOKENS)
        groups.append(([s for s, _ in kind], np.stack([token_ids[:size] for _, token_ids in kind])))
    return groups


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
