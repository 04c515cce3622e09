"""The token trees of all jobs that have read their prompts: whose turn it is, and running it."""

from __future__ import annotations

import itertools
from collections.abc import Sequence as SequenceOf
from typing import NamedTuple

import numpy as np

from model.kernel.library import Kernel
from model.runtime.contract import Runtime
from model.state import FloatArray
from service.engine.decoding import Ending
from service.engine.growth import Grown, Growth
from service.engine.sequence import Sequence
from service.engine.token_tree import Piece, PieceKind, TokenTree


class Turn(NamedTuple):
    """A piece of one tree's work."""

    sequence: Sequence
    piece: Piece


class Harvest(NamedTuple):
    """A growth that is done; ``ending`` is how the job ends if it was the last, else None."""

    sequence: Sequence
    grown: Grown
    ending: Ending | None


class TreeGrower:
    """Sequences with token trees, each with the ending it will have once its tree is done.

    Clients share every round, whatever each of them has asked for, and the requests of a client
    take turns. Of the trees of one request the oldest goes first: so its slots become free one by
    one, and not all of them at the very end.
    """

    def __init__(self, runtime: Runtime, end_of_text_id: int, kernel: Kernel | None = None) -> None:
        self._runtime = runtime
        self._kernel = kernel
        self._end_of_text_id = end_of_text_id
        self._trees: dict[Sequence, TokenTree] = {}
        self._endings: dict[Sequence, Ending] = {}
        self._growing: set[Sequence] = set()
        self._last_turns: dict[tuple[str, int], int] = {}
        self._turns = itertools.count(1)

    @property
    def has_work(self) -> bool:
        """Whether a growth is under way; trees that wait for their next one are no work."""
        return bool(self._growing)

    @property
    def num_idle(self) -> int:
        """Trees that wait for their next growth."""
        return len(self._trees) - len(self._growing)

    def plant(self, ending: Ending, root: FloatArray) -> None:
        """Begins the tree of a sequence that would have ended; ``root`` is its state [state_size].

        Raises:
            ValueError: the job's first growth does not fit.
        """
        sequence = ending.sequence
        assert sequence.job.growth is not None
        tree = TokenTree(root, self._runtime.config, self._end_of_text_id, self._kernel)
        tree.grow(sequence.job.growth)
        self._trees[sequence] = tree
        self._endings[sequence] = ending
        self._growing.add(sequence)

    def grow(self, sequence: Sequence, growth: Growth) -> None:
        """Goes on with the tree of ``sequence``.

        Raises:
            ValueError: there is no tree yet, or ``growth`` does not fit it.
        """
        if sequence not in self._trees:
            raise ValueError("the job has no tree yet")
        self._trees[sequence].grow(growth)
        self._growing.add(sequence)

    def discard(self, sequence: Sequence) -> None:
        """Forgets a sequence that has ended, if it is one of these."""
        if self._trees.pop(sequence, None) is not None:
            del self._endings[sequence]
            self._growing.discard(sequence)

    def take_turns(self, max_rows: int) -> tuple[list[Turn], list[Harvest]]:
        """Pieces to run next, of at most ``max_rows`` rows together, and growths that are done."""
        turns: list[Turn] = []
        harvests: list[Harvest] = []
        lines = self._lines()
        for index, line in enumerate(lines):
            share = -(-max_rows // (len(lines) - index))
            max_rows -= share
            for sequence in line:
                if share < 1:
                    break
                piece = self._trees[sequence].take(share)
                if piece is not None:
                    turns.append(Turn(sequence, piece))
                    share -= len(piece.nodes)
                else:
                    harvests.append(self._harvest(sequence))
            max_rows += share
        return turns, harvests

    def _lines(self) -> list[list[Sequence]]:
        """The trees that grow, in order, for each client."""
        requests: dict[tuple[str, int], list[Sequence]] = {}
        for sequence in self._trees:
            if sequence in self._growing:
                requests.setdefault((sequence.job.client, sequence.request), []).append(sequence)
        lines: dict[str, list[Sequence]] = {}
        self._last_turns = {request: self._last_turns.get(request, 0) for request in requests}
        for request in sorted(requests, key=self._last_turns.__getitem__):
            client = request[0]
            if client not in lines:
                self._last_turns[request] = next(self._turns)
            lines.setdefault(client, []).extend(requests[request])
        return list(lines.values())

    def _harvest(self, sequence: Sequence) -> Harvest:
        self._growing.remove(sequence)
        grown, last = self._trees[sequence].grown(sequence.job.job_id)
        return Harvest(sequence, grown, self._endings[sequence] if last else None)

    def run(self, turns: SequenceOf[Turn]) -> None:
        """Runs ``turns``, those of one kind side by side, and gives each tree its share."""
        kinds: tuple[PieceKind, ...] = ("logits", "read", "step")
        for kind in kinds:
            chosen = [turn for turn in turns if turn.piece.kind == kind]
            if chosen:
                self._run_together(kind, chosen)

    def _run_together(self, kind: PieceKind, turns: SequenceOf[Turn]) -> None:
        given = np.concatenate([turn.piece.states for turn in turns])
        token_ids = np.concatenate([turn.piece.token_ids for turn in turns])
        logits: FloatArray | None = None
        states: FloatArray | None = None
        if kind == "logits":
            logits = self._runtime.logits(given)
        elif kind == "read":
            states = self._runtime.prefill(token_ids[:, None], given)
        else:
            logits, states = self._runtime.step(token_ids, given)
        start = 0
        for sequence, piece in turns:
            rows = slice(start, start + len(piece.nodes))
            start = rows.stop
            self._trees[sequence].put(
                piece,
                None if logits is None else logits[rows],
                None if states is None else states[rows],
            )
