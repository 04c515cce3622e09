"""The engine itself: ``EngineLoop`` takes jobs, runs steps, hands out events. No sockets, no text.

One step: jobs past their deadline end; free slots are filled; prompts are read on, side by side;
then every sequence past its reading takes part in one ``runtime.step`` and uses the logits it gets
(iteration-level scheduling: Yu et al. 2022, Orca). A job's tokens and logprobs depend on the job
alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from collections.abc import Sequence as SequenceOf
from dataclasses import replace

import numpy as np

from model.kernel.library import Kernel
from model.runtime.contract import Runtime
from service.engine.counters import Counters
from service.engine.decoding import Decoder, Ending
from service.engine.growing import TreeGrower
from service.engine.growth import Growth
from service.engine.job_check import find_fault
from service.engine.reading import PromptReader
from service.engine.request import ErrorCode, Event, Finished, Job, PromptScored, Sampled, Started
from service.engine.scheduler import Admission, Scheduler, Ticket
from service.engine.scores import stack_scores
from service.engine.sequence import JobKey, Sequence
from service.engine.slots import SlotStates
from service.engine.state_cache import StateCache

logger = logging.getLogger(__name__)

Owner = Hashable

#: How many prompt tokens one engine step reads while others wait for their next token, and while
#: nobody does (new jobs and cancels are heard between steps).
_READ_TOKENS_BESIDE_DECODING = 128
_READ_TOKENS_ALONE = 512
#: How many rows of token trees one engine step runs, likewise; and in how many rounds at most.
_TREE_ROWS_BESIDE_DECODING = 32
_TREE_ROWS_ALONE = 128
_TREE_ROUNDS = 16
#: Prompt scores are sent in pieces of so many tokens.
_SCORES_PER_EVENT = 256
#: So many failed steps in a row, and the engine no longer counts as ready.
_MAX_FAILURES = 3

_MESSAGES: Mapping[ErrorCode, str] = {
    "queue_timeout": "the request waited too long for its turn",
    "request_timeout": "the request took too long",
    "step_failed": "the model failed on this request",
    "shutting_down": "the service is shutting down",
}


class EngineLoop:
    """Runs jobs on ``runtime``. To be used from one thread.

    Args:
        runtime: the network.
        end_of_text_id: the token that starts and ends documents.
        unknown_id: a token never to be sampled.
        max_running: slots.
        max_queue: most jobs that may wait.
        cache_bytes: how much the states after prompt prefixes may take.
        kernel: draws tokens and scores them, if not NumPy.
        clock: monotonic seconds; deadlines are by this clock.
    """

    def __init__(
        self,
        runtime: Runtime,
        *,
        end_of_text_id: int,
        unknown_id: int | None = None,
        max_running: int = 64,
        max_queue: int = 256,
        cache_bytes: int = 32 * 2**20,
        kernel: Kernel | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.counters = Counters()
        self.scheduler: Scheduler[JobKey] = Scheduler(max_running, max_queue)
        self._config = runtime.config
        self._end_of_text_id = end_of_text_id
        self._clock = clock
        self._slots = SlotStates(max_running, runtime.config.state_size)
        self._reader = PromptReader(runtime, self._slots, StateCache(cache_bytes), end_of_text_id)
        never = () if unknown_id is None else (unknown_id,)
        self._decoder = Decoder(
            runtime,
            self._slots,
            self._reader,
            end_of_text_id=end_of_text_id,
            never=never,
            kernel=kernel,
            counters=self.counters,
        )
        self._grower = TreeGrower(runtime, end_of_text_id, kernel)
        self._waiting: dict[JobKey, Job] = {}
        self._sequences: dict[JobKey, Sequence] = {}
        self._active: list[Sequence] = []
        self._outbox: dict[Owner, list[Event]] = {}
        self._num_failures = 0
        # Until then a decoder that runs steadily is all there is to do, if nobody comes meanwhile.
        self._steady_until = 0.0

    @property
    def busy(self) -> bool:
        """Whether a job runs or waits."""
        return bool(self._waiting or self._sequences)

    @property
    def has_work(self) -> bool:
        """Whether a step would do anything but look at deadlines.

        A job whose token tree waits for its next growth runs, but there is nothing to do for it.
        """
        room = self.scheduler.num_running < self.scheduler.max_running
        return len(self._sequences) > self._grower.num_idle or bool(self._waiting and room)

    @property
    def healthy(self) -> bool:
        """Whether the network works: not every one of the last few steps has failed."""
        return self._num_failures < _MAX_FAILURES

    def submit(self, owner: Owner, jobs: SequenceOf[Job]) -> bool:
        """Takes all of ``jobs``; or none, and returns False: the queue is full.

        A job that does not fit the model, or whose id is open already, ends at once with
        ``invalid_job``.
        """
        sound: dict[JobKey, Job] = {}
        faults: list[tuple[Job, str]] = []
        for job in jobs:
            key = (owner, job.job_id)
            fault = find_fault(job, self._config)
            if key in sound or key in self.scheduler:
                fault = f"a job named {job.job_id} is open already"
            if fault is None:
                sound[key] = job
            else:
                faults.append((job, fault))
        tickets = [
            Ticket(key, job.client, job.queue_deadline, job.deadline) for key, job in sound.items()
        ]
        if not self.scheduler.submit(tickets, self._clock()):
            return False
        self._steady_until = 0.0
        self._waiting.update(sound)
        for job, fault in faults:
            self._post(owner, _unstarted_end(job, "invalid_job", fault))
        return True

    def grow(self, owner: Owner, job_id: str, growth: Growth) -> None:
        """Goes on with the token tree of a running job; ignored if there is no such job.

        A growth that does not fit ends the job with ``invalid_job``.
        """
        sequence = self._sequences.get((owner, job_id))
        if sequence is None:
            return
        self._steady_until = 0.0
        try:
            self._grower.grow(sequence, growth)
        except ValueError as error:
            self._end_running(Ending(sequence, "error"), "invalid_job", str(error))

    def cancel(self, owner: Owner, job_ids: Iterable[str]) -> None:
        """Ends these jobs with ``cancelled``; unknown ones are ignored."""
        for job_id in job_ids:
            key = (owner, job_id)
            if key in self._sequences:
                self._end_running(Ending(self._sequences[key], "cancelled"))
            elif key in self._waiting:
                self.scheduler.remove(key, self._clock())
                self._post(owner, Finished(job_id, "cancelled"))
                del self._waiting[key]

    def drop_owner(self, owner: Owner) -> None:
        """Ends every job of ``owner``, who is gone; its events are thrown away."""
        self.cancel(owner, [job_id for key_owner, job_id in self.scheduler if key_owner == owner])
        self._outbox.pop(owner, None)

    def fail_all(self, code: ErrorCode) -> None:
        """Ends every job with ``code``."""
        for sequence in tuple(self._sequences.values()):
            self._end_running(Ending(sequence, "error"), code)
        for (owner, job_id), job in tuple(self._waiting.items()):
            self.scheduler.remove((owner, job_id), self._clock())
            self._post(owner, _unstarted_end(job, code, _MESSAGES[code]))
        self._waiting.clear()

    def take_events(self) -> dict[Owner, list[Event]]:
        """The events since the last call, by the owner of the jobs, in order."""
        outbox, self._outbox = self._outbox, {}
        return outbox

    def step(self) -> None:
        """Does one round of work, if there is any."""
        if self._decoder.runs_steadily and self._clock() < self._steady_until:
            self._decode()
            return
        self._expire()
        for admission in self.scheduler.admit(self._clock()):
            self._start(admission)
        self._read_prompts()
        depth = _TREE_ROWS_BESIDE_DECODING if self._active else _TREE_ROWS_ALONE
        if self._active:
            self._decode()
        self._grow_trees(depth)
        has_more = self._reader.has_work or self._grower.has_work
        self._steady_until = 0.0 if has_more else self.scheduler.next_deadline

    def _expire(self) -> None:
        for expiry in self.scheduler.expire(self._clock()):
            sequence = self._sequences.get(expiry.key)
            if sequence is not None:
                self._forget(sequence)
                self._post_end(Ending(sequence, "error"), expiry.reason)
            else:
                job = self._waiting.pop(expiry.key)
                end = _unstarted_end(job, expiry.reason, _MESSAGES[expiry.reason])
                self._post(expiry.key[0], replace(end, queue_seconds=expiry.queue_seconds))

    def _start(self, admission: Admission[JobKey]) -> None:
        key, slot, queue_seconds = admission.key, admission.slot, admission.queue_seconds
        sequence = Sequence(key, self._waiting.pop(key), slot, self._end_of_text_id, self._config)
        sequence.request = admission.request
        sequence.queue_seconds = queue_seconds
        sequence.started_at = self._clock()
        self._sequences[key] = sequence
        unread = self._reader.begin(sequence)
        self.counters.count_lookup(len(sequence.prompt), sequence.cached_tokens)
        sequence.unsent_start = Started(key[1], sequence.cached_tokens, queue_seconds)
        if sequence.job.tokens_per_event == 1:
            self._post_unsent(sequence)
        if not unread:
            self._end_reading(sequence)

    def _read_prompts(self) -> None:
        budget = _READ_TOKENS_BESIDE_DECODING if self._active else _READ_TOKENS_ALONE
        while (group := self._reader.next_group(budget)) is not None:
            budget -= group.num_tokens * len(group.sequences)
            try:
                done = self._reader.read(group)
            except Exception:
                logger.exception("reading %d prompts failed", len(group.sequences))
                self._fail(group.sequences)
                continue
            self._num_failures = 0
            for sequence in done:
                self._end_reading(sequence)

    def _end_reading(self, sequence: Sequence) -> None:
        sequence.read_at = self._clock()
        if sequence.wants_logits:
            self._active.append(sequence)
        else:
            self._end_or_plant(Ending(sequence, "length"))

    def _grow_trees(self, max_rows: int) -> None:
        for _ in range(_TREE_ROUNDS):
            if max_rows < 1 or not self._grower.has_work:
                return
            turns, harvests = self._grower.take_turns(max_rows)
            for harvest in harvests:
                self._post_unsent(harvest.sequence)
                self._post(harvest.sequence.key[0], harvest.grown)
                if harvest.ending is not None:
                    self._end_running(harvest.ending)
            if not turns:
                continue
            num_rows = sum(len(turn.piece.nodes) for turn in turns)
            max_rows -= num_rows
            try:
                self._grower.run(turns)
            except Exception:
                logger.exception("a step of %d token trees failed", len(turns))
                self._fail([turn.sequence for turn in turns])
                continue
            self._num_failures = 0
            self.counters.count_step(num_rows)

    def _decode(self) -> None:
        try:
            endings = self._decoder.step(self._active)
        except Exception:
            logger.exception("a step of %d sequences failed", len(self._active))
            self._fail(self._active)
            return
        self._num_failures = 0
        if self._decoder.runs_steadily:
            return
        for sequence in self._active:
            self._post_progress(sequence)
        for ending in endings:
            if ending.finish_reason == "error":
                self._end_running(ending, "step_failed")
            else:
                self._end_or_plant(ending)

    def _end_or_plant(self, ending: Ending) -> None:
        """A sequence is done with its prompt and its tokens: it ends, or grows its tree first."""
        sequence = ending.sequence
        if sequence.job.growth is None:
            self._end_running(ending)
            return
        self._active = [other for other in self._active if other is not sequence]
        try:
            self._grower.plant(ending, self._slots.get(sequence.slot))
        except ValueError as error:
            self._end_running(Ending(sequence, "error"), "invalid_job", str(error))

    def _fail(self, sequences: SequenceOf[Sequence]) -> None:
        """Ends the sequences the network failed on."""
        self._num_failures += 1
        self.counters.failed_steps_total += 1
        for sequence in tuple(sequences):
            self._end_running(Ending(sequence, "error"), "step_failed")

    def _post_progress(self, sequence: Sequence) -> None:
        """Posts what a sequence has gathered, if it is enough for an event."""
        if sequence.num_scores_sent < sequence.num_scored:
            gathered = len(sequence.unsent_scores)
            complete = sequence.num_scores_sent + gathered == sequence.num_scored
            wanted = complete and sequence.job.tokens_per_event == 1
            if wanted or gathered >= _SCORES_PER_EVENT:
                self._post_unsent(sequence)
        elif len(sequence.unsent_token_ids) >= sequence.job.tokens_per_event:
            self._post_unsent(sequence)

    def _post_unsent(self, sequence: Sequence) -> None:
        """Posts all that a sequence has gathered, in order."""
        if sequence.unsent_start is not None:
            self._post(sequence.key[0], sequence.unsent_start)
            sequence.unsent_start = None
        num_unsent = min(
            len(sequence.unsent_scores), sequence.num_scored - sequence.num_scores_sent
        )
        if num_unsent > 0:
            self._post_prompt_scores(sequence, num_unsent)
        if sequence.unsent_token_ids:
            self._post_sampled(sequence)

    def _post_sampled(self, sequence: Sequence) -> None:
        owner, job_id = sequence.key
        scores = sequence.unsent_scores
        token_ids, sequence.unsent_token_ids = tuple(sequence.unsent_token_ids), []
        sequence.unsent_scores = []
        self._post(owner, Sampled(job_id, token_ids, stack_scores(scores) if scores else None))

    def _post_prompt_scores(self, sequence: Sequence, most: int) -> None:
        owner, job_id = sequence.key
        scores = sequence.unsent_scores[:most]
        sequence.unsent_scores = sequence.unsent_scores[most:]
        start = sequence.num_unscored + sequence.num_scores_sent
        ranks = np.array([score.rank for score in scores], np.int32)
        self._post(owner, PromptScored(job_id, start, stack_scores(scores), ranks))
        sequence.num_scores_sent += len(scores)

    def _end_running(
        self, ending: Ending, code: ErrorCode | None = None, message: str | None = None
    ) -> None:
        self.scheduler.remove(ending.sequence.key, self._clock())
        self._forget(ending.sequence)
        self._post_end(ending, code, message)

    def _forget(self, sequence: Sequence) -> None:
        self._decoder.settle()
        del self._sequences[sequence.key]
        self._reader.discard(sequence)
        self._grower.discard(sequence)
        if sequence in self._active:
            self._active = [other for other in self._active if other is not sequence]

    def _post_end(self, ending: Ending, code: ErrorCode | None, message: str | None = None) -> None:
        sequence, job = ending.sequence, ending.sequence.job
        self._post_unsent(sequence)
        now = self._clock()
        read_at = now if sequence.read_at is None else sequence.read_at
        complete = ending.finish_reason in ("stop", "length")
        self._post(
            sequence.key[0],
            Finished(
                job.job_id,
                ending.finish_reason,
                stop_token_id=ending.stop_token_id,
                num_prompt_tokens=len(sequence.prompt),
                cached_tokens=sequence.cached_tokens,
                num_completion_tokens=sequence.num_sampled,
                queue_seconds=sequence.queue_seconds,
                prefill_seconds=read_at - sequence.started_at,
                decode_seconds=now - read_at,
                next=ending.next,
                state=self._slots.get(sequence.slot).tobytes()
                if job.return_state and complete
                else None,
                num_state_tokens=sequence.num_sampled - (ending.stop_token_id is not None),
                error_code=code,
                error_message=message if code is None or message else _MESSAGES[code],
            ),
        )

    def _post(self, owner: Owner, event: Event) -> None:
        if type(event) is Finished:
            self.counters.count_end(event)
        self._outbox.setdefault(owner, []).append(event)


def _unstarted_end(job: Job, code: ErrorCode, message: str) -> Finished:
    """The end of a job that never had a slot."""
    num_prompt_tokens = len(job.prompt_token_ids)
    return Finished(
        job.job_id,
        "error",
        num_prompt_tokens=num_prompt_tokens,
        error_code=code,
        error_message=message,
    )
