"""One job's token tree: which rows the network has to run next, and what came of them.

Works level by level: the nodes of one depth need only the states of the depth above, so however
large a tree grows, two levels of states are held, and those that were to be kept.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from model.config import ModelConfig
from model.kernel.library import Kernel
from model.scoring import MIN_LOGPROB, log_normalisers
from model.state import FloatArray, IntArray, RecurrentState
from service.engine.growth import Grown, Growth
from service.engine.looking import PreparedLook, View, take_views

#: How the network has to run: only logits, from the states as they are; only states; or both.
PieceKind = Literal["logits", "read", "step"]

#: What the states that one tree keeps may take.
MAX_KEPT_BYTES = 512 * 2**20


class Piece(NamedTuple):
    """Rows to run: ``states`` [rows, state_size]; ``token_ids`` [rows], unused for ``logits``."""

    kind: PieceKind
    nodes: IntArray
    token_ids: IntArray
    states: FloatArray


class TokenTree:
    """A tree behind ``root``, the state [state_size] at the end of the prompt.

    ``grow`` starts a growth. Then ``take`` gives pieces of it to run and ``put`` takes back what
    came of each, in turn, until ``take`` gives None; ``grown`` is the answer.
    """

    def __init__(
        self,
        root: FloatArray,
        config: ModelConfig,
        end_of_text_id: int,
        kernel: Kernel | None = None,
    ) -> None:
        self._kernel = kernel
        self._config = config
        self._end_of_text_id = end_of_text_id
        self._looks: list[PreparedLook] = []
        self._num_nodes = 1
        self._kept: dict[int, FloatArray] = {0: root}
        self._work: _Work | None = None

    def grow(self, growth: Growth) -> None:
        """Starts ``growth``.

        Raises:
            ValueError: it does not fit the tree or the model, or another one is under way.
        """
        if self._work is not None:
            raise ValueError("another growth of the tree is under way")
        if growth.forgets:
            self._kept = {0: self._kept[0]}
        looks = [PreparedLook(look, self._config.vocab_size) for look in growth.new_looks]
        self._check(growth, len(self._looks) + len(looks))
        self._looks += looks
        self._work = _Work(growth, self._num_nodes)
        self._num_nodes += len(growth.token_ids)

    @property
    def growing(self) -> bool:
        """Whether a growth is under way, or done and its answer not yet taken."""
        return self._work is not None

    def take(self, max_rows: int) -> Piece | None:
        """The next piece, of at most ``max_rows`` rows; None once the growth is done."""
        assert self._work is not None
        return self._work.take(max_rows, self._kept, self._end_of_text_id)

    def put(self, piece: Piece, logits: FloatArray | None, states: FloatArray | None) -> None:
        """What came of ``piece``: logits unless only read, states unless only logits."""
        assert self._work is not None
        if states is not None:
            self._work.put_states(piece.nodes, states, self._config)
            for row in np.flatnonzero(self._work.growth.kept[piece.nodes]).tolist():
                self._kept[self._work.first + int(piece.nodes[row])] = states[row].copy()
        if logits is not None:
            self._work.put_logits(piece.nodes, logits, self._looks, self._kernel)

    def grown(self, job_id: str) -> tuple[Grown, bool]:
        """The answer to the growth that is done, and whether it was the last."""
        assert self._work is not None
        work, self._work = self._work, None
        return work.grown(job_id), work.growth.last

    def _check(self, growth: Growth, num_looks: int) -> None:
        num_new = len(growth.token_ids)
        for name in ("parents", "scored", "look_of", "kept"):
            if getattr(growth, name).shape != (num_new,):
                raise ValueError(f"a growth of {num_new} nodes has {name} of another shape")
        if num_new:
            if growth.token_ids.min() < 0 or growth.token_ids.max() >= self._config.vocab_size:
                raise ValueError("a token id of a growth is outside the vocabulary")
            if (growth.parents >= self._num_nodes + np.arange(num_new)).any():
                raise ValueError("a node of a growth stands before its parent")
        if max((growth.root_look, *growth.look_of.tolist())) >= num_looks:
            raise ValueError("a growth takes a look that there is not")
        outside = growth.parents[growth.parents < self._num_nodes]
        if not self._kept.keys() >= set(np.unique(outside).tolist()):
            raise ValueError("a growth goes on from a node that was not kept")
        num_kept = len(self._kept) + int(growth.kept.sum())
        if growth.kept.any() and num_kept * 4 * self._config.state_size > MAX_KEPT_BYTES:
            raise ValueError(f"a tree keeps too many states: {num_kept}")


class _Level(NamedTuple):
    """The nodes of one depth that are run in one way."""

    kind: PieceKind
    nodes: IntArray


class _Work:
    """A growth under way. Nodes are numbered from 0 here; those before it have negative numbers."""

    def __init__(self, growth: Growth, first: int) -> None:
        self.growth = growth
        self.first = first
        num_nodes = len(growth.token_ids)
        self._parents = growth.parents.astype(np.int32) - np.int32(first)
        self._depths = _depths_of(self._parents)
        self._by_parent = np.argsort(self._parents, kind="stable").astype(np.int32)
        self._sorted_parents = self._parents[self._by_parent]
        self._look_of = growth.look_of
        self._row_of = np.zeros(num_nodes, np.int32)
        self._above: FloatArray = np.empty((0, 0), np.float32)
        self._here: FloatArray = self._above
        self._logprobs = np.zeros(num_nodes, np.float32)
        self._views: dict[int, View] = {}
        self._hidden_sum: NDArray[np.float64] = np.zeros(0)
        self._levels = self._plan()
        self._level: _Level | None = None
        self._num_done = 0

    def take(self, max_rows: int, kept: dict[int, FloatArray], end_of_text_id: int) -> Piece | None:
        """The next piece; see ``TokenTree``."""
        if self._level is None or self._num_done == len(self._level.nodes):
            self._level, self._num_done = next(self._levels, None), 0
        if self._level is None:
            return None
        kind = self._level.kind
        nodes = self._level.nodes[self._num_done : self._num_done + max_rows]
        self._num_done += len(nodes)
        if kind == "logits":
            states = np.stack([kept[self.first + node] for node in nodes.tolist()])
            return Piece(kind, nodes, np.zeros(0, np.int32), states)
        parents = self._parents[nodes]
        if parents[0] < 0:
            states = np.stack([kept[self.first + parent] for parent in parents.tolist()])
        else:
            states = self._above[self._row_of[parents]]
        token_ids = self.growth.token_ids[nodes]
        states[token_ids == end_of_text_id] = 0.0  # a new document begins
        return Piece(kind, nodes, token_ids, states)

    def put_states(self, nodes: IntArray, states: FloatArray, config: ModelConfig) -> None:
        """Takes the states after ``nodes``."""
        if not self._here.size:
            self._here = np.empty((self._num_here, states.shape[1]), np.float32)
        self._here[self._row_of[nodes]] = states
        if self.growth.pooled:
            hidden = RecurrentState(config, states).hidden(config.num_layers - 1)
            total = hidden.sum(axis=0, dtype=np.float64)
            self._hidden_sum = self._hidden_sum + total if self._hidden_sum.size else total

    def put_logits(
        self,
        nodes: IntArray,
        logits: FloatArray,
        looks: list[PreparedLook],
        kernel: Kernel | None,
    ) -> None:
        """Takes the logits behind ``nodes``: scores their children and takes looks."""
        starts = np.searchsorted(self._sorted_parents, nodes, "left")
        counts = np.searchsorted(self._sorted_parents, nodes, "right") - starts
        rows = np.repeat(np.arange(len(nodes)), counts)
        places = np.arange(len(rows)) - np.repeat(np.cumsum(counts) - counts, counts)
        children = self._by_parent[np.repeat(starts, counts) + places]
        wanted = self.growth.scored[children]
        if wanted.any():
            children, rows = children[wanted], rows[wanted]
            self._logprobs[children] = _scores(
                logits, rows, self.growth.token_ids[children], kernel
            )
        if nodes[0] >= 0:
            look_of = self._look_of[nodes]
        else:
            look_of = np.where(nodes == -self.first, self.growth.root_look, -1).astype(np.int32)
        for row, view in take_views(looks, look_of, logits, kernel):
            self._views[int(nodes[row])] = view

    def grown(self, job_id: str) -> Grown:
        """The answer."""
        views = [self._views[node] for node in sorted(self._views)]
        none = np.zeros(0, np.int32)
        return Grown(
            job_id,
            self._logprobs,
            np.array([len(view.token_ids) for view in views], np.int32),
            np.concatenate([none, *(view.token_ids for view in views)]).astype(np.int32),
            np.concatenate([none, *(view.logprobs for view in views)]).astype(np.float32),
            np.array([view.log_mass for view in views], np.float64),
            self._hidden_sum,
        )

    def _plan(self) -> Iterator[_Level]:
        """What to run, level by level; the rows of a level are known when it begins."""
        growth, parents = self.growth, self._parents
        inside = parents >= 0
        with_logits = self._look_of >= 0
        with_logits[parents[inside & growth.scored]] = True
        fed = with_logits | growth.kept | growth.pooled
        fed[parents[inside]] = True
        bases = np.unique(parents[~inside & growth.scored])
        if growth.root_look >= 0:
            bases = np.union1d([-self.first], bases)
        if bases.size:
            yield _Level("logits", bases.astype(np.int32))
        by_depth = np.flatnonzero(fed)
        by_depth = by_depth[np.argsort(self._depths[by_depth], kind="stable")]
        cuts = np.flatnonzero(np.diff(self._depths[by_depth])) + 1
        for nodes in np.split(by_depth, cuts) if by_depth.size else ():
            self._num_here = len(nodes)
            self._row_of[nodes] = np.arange(len(nodes), dtype=np.int32)
            self._above, self._here = self._here, np.empty((0, 0), np.float32)
            for kind, chosen in (("step", with_logits[nodes]), ("read", ~with_logits[nodes])):
                if chosen.any():
                    yield _Level(kind, nodes[chosen].astype(np.int32))  # type: ignore[arg-type]


def _depths_of(parents: IntArray) -> IntArray:
    """How far below the nodes that were there before each node stands, from 1."""
    depths: list[int] = []
    for parent in parents.tolist():
        depths.append(depths[parent] + 1 if parent >= 0 else 1)
    return np.array(depths, np.int32)


def _scores(
    logits: FloatArray, rows: NDArray[np.int64], token_ids: IntArray, kernel: Kernel | None
) -> FloatArray:
    """Logprob of token ``token_ids[i]`` by row ``rows[i]`` of ``logits``, as everywhere else."""
    logprobs = logits[rows, token_ids] - log_normalisers(logits, kernel)[rows]
    return np.maximum(logprobs, MIN_LOGPROB).astype(np.float32)
