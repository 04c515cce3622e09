"""Reading prompts as far as no logits are needed: in chunks, several prompts side by side."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from model.runtime.contract import Runtime
from model.state import FloatArray
from service.engine.sequence import Sequence
from service.engine.slots import SlotStates
from service.engine.state_cache import CUT_TOKENS, StateCache, is_cut


class Group(NamedTuple):
    """Sequences that read their next ``num_tokens`` tokens side by side."""

    sequences: list[Sequence]
    num_tokens: int


class PromptReader:
    """The sequences that have prompt left to read, first come first.

    Of sequences that have the same to read (the candidates of one prompt) only the first reads; the
    others get its state at the end.
    """

    def __init__(
        self, runtime: Runtime, slots: SlotStates, cache: StateCache, end_of_text_id: int
    ) -> None:
        self._runtime = runtime
        self._slots = slots
        self._cache = cache
        ends = np.array([end_of_text_id], np.int32)
        _, state = runtime.step(ends, runtime.initial_state(1))
        self._initial_state: FloatArray = state[0].copy()
        self._reading: list[Sequence] = []
        self._sharing: dict[tuple[bytes, bytes], list[Sequence]] = {}

    @property
    def has_work(self) -> bool:
        """Whether a sequence has prompt left to read."""
        return bool(self._reading)

    def begin(self, sequence: Sequence) -> bool:
        """Puts the state that reading starts from, out of the cache if there, into the slot.

        Returns:
            Whether anything is left to read.
        """
        hit = self._cache.find(sequence.origin, sequence.unread_part)
        if hit is not None:
            state = hit.state
            sequence.num_read += hit.num_tokens
            sequence.cached_tokens = hit.num_tokens
        elif sequence.origin:
            state = np.frombuffer(sequence.origin, np.float32)
        else:
            state = self._initial_state
        self._slots.set(sequence.slot, state)
        if sequence.num_to_read == 0:
            sequence.end_reading()
            return False
        sharing = self._sharing.setdefault(_reading_of(sequence), [])
        sharing.append(sequence)
        if sharing[0] is sequence:
            self._reading.append(sequence)
        else:
            sequence.cached_tokens = sequence.num_read - sequence.start + sequence.num_to_read
        return True

    def discard(self, sequence: Sequence) -> None:
        """Forgets a sequence that has ended; another one that shares its reading takes over."""
        if sequence.read_at is not None:
            return
        key = _reading_of(sequence)
        sharing = self._sharing.get(key, [])
        if sequence not in sharing:
            return
        sharing.remove(sequence)
        if sequence in self._reading:
            place = self._reading.index(sequence)
            self._reading[place : place + 1] = sharing[:1]
            if sharing:
                self._hand_over(sequence, sharing[0])
        if not sharing:
            del self._sharing[key]

    def next_group(self, max_tokens: int) -> Group | None:
        """Which sequences read next, and how many tokens each: ``max_tokens`` in all at most.

        The longest chunk that all can take, since rows side by side cost less than one after
        another. Chunks are powers of two, and none reaches past a cut, where the state is kept.
        """
        if not self._reading or max_tokens < 1:
            return None
        sequences = self._reading[:max_tokens]
        longest = min(_longest_chunk(sequence) for sequence in sequences)
        share = max_tokens // len(sequences)
        return Group(sequences, min(longest, 1 << (share.bit_length() - 1)))

    def read(self, group: Group) -> list[Sequence]:
        """Runs one chunk; returns the sequences that have nothing left to read."""
        sequences, num_tokens = group
        slots = [sequence.slot for sequence in sequences]
        token_ids = np.stack([s.prompt[s.num_read : s.num_read + num_tokens] for s in sequences])
        states = self._runtime.prefill(token_ids, self._slots.gather(slots))
        self._slots.scatter(slots, states)
        for sequence, state in zip(sequences, states, strict=True):
            sequence.num_read += num_tokens
            if is_cut(sequence.num_read - sequence.start) or sequence.unread_part.size == 0:
                self.keep(sequence, state)
        done = [sequence for sequence in sequences if sequence.num_to_read == 0]
        if done:
            self._reading = [sequence for sequence in self._reading if sequence.num_to_read > 0]
        for reader in tuple(done):
            for sequence in self._sharing.pop(_reading_of(reader))[1:]:
                self._hand_over(reader, sequence)
                done.append(sequence)
        for sequence in done:
            sequence.end_reading()
        return done

    def _hand_over(self, reader: Sequence, sequence: Sequence) -> None:
        """Gives ``sequence`` what ``reader`` has read so far."""
        self._slots.set(sequence.slot, self._slots.get(reader.slot))
        sequence.num_read = sequence.start + reader.num_read - reader.start

    def keep(self, sequence: Sequence, state: FloatArray) -> None:
        """Keeps ``state`` as the one after what the sequence has read so far."""
        self._cache.keep(
            sequence.origin, sequence.prompt[sequence.start : sequence.num_read], state
        )


def _reading_of(sequence: Sequence) -> tuple[bytes, bytes]:
    """All that the state at the end of the reading depends on."""
    end = sequence.num_read + sequence.num_to_read
    return sequence.origin, sequence.prompt[sequence.start : end].tobytes()


def _longest_chunk(sequence: Sequence) -> int:
    """The largest power of two that stays within the reading and does not pass a cut."""
    to_cut = CUT_TOKENS - (sequence.num_read - sequence.start) % CUT_TOKENS
    return 1 << (min(sequence.num_to_read, to_cut).bit_length() - 1)
