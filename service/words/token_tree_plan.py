"""The worker's side of a token tree: numbers its nodes, writes its growths and reads the answers.

What an endpoint does with a tree is a generator: it yields each ``Growth`` and is sent the
``Grown`` that answers it. So it can be run on an engine, or in a test on anything else.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from model.state import IntArray
from service.engine.growth import Grown, Growth, Look

ResultT = TypeVar("ResultT")

#: Work on a tree that ends with a result.
TreeWork = Generator[Growth, Grown, ResultT]

#: The end of the prompt.
ROOT = 0

#: Nodes of one growth, about: what the engine takes in, between two steps, of each of many trees.
_NODES_PER_GROWTH = 4096


class View(NamedTuple):
    """What one look showed."""

    token_ids: list[int]
    logprobs: list[float]
    log_mass: float


class Path(NamedTuple):
    """Tokens in a row behind ``node``, which was kept or is ``ROOT``.

    The first ``num_read`` of them are only read, the others scored.
    """

    node: int
    token_ids: Sequence[int]
    num_read: int = 0


class ScoredPath(NamedTuple):
    """What came of a path.

    Attributes:
        logprob: of all its tokens that were scored; 0 for none.
        end_node: the last one, or the node itself where there are none.
        view: what a look behind the last one showed.
    """

    logprob: float
    end_node: int
    view: View | None


@dataclass
class TokenTreePlan:
    """A tree as its owner knows it: how many nodes and looks it has."""

    num_nodes: int = 1
    _looks: dict[Look, int] = field(default_factory=dict)

    def growth(
        self,
        parents: Sequence[int] | IntArray,
        token_ids: Sequence[int] | IntArray,
        *,
        scored: Sequence[bool] | None = None,
        looks: Sequence[Look | None] | None = None,
        root_look: Look | None = None,
        kept: Sequence[bool] | None = None,
        pooled: bool = False,
        forgets: bool = False,
    ) -> Growth:
        """A growth of nodes numbered from ``num_nodes`` on; by default nothing is told of them."""
        num_known = len(self._looks)
        look_of = [-1 if look is None else self._number(look) for look in looks or ()]
        root = -1 if root_look is None else self._number(root_look)
        self.num_nodes += len(token_ids)
        return Growth(
            parents=np.array(parents, np.int32),
            token_ids=np.array(token_ids, np.int32),
            scored=np.array(scored or [False] * len(token_ids), np.bool_),
            look_of=np.array(look_of or [-1] * len(token_ids), np.int32),
            new_looks=tuple(self._looks)[num_known:],
            root_look=root,
            kept=np.array(kept or [False] * len(token_ids), np.bool_),
            pooled=pooled,
            forgets=forgets,
        )

    def _number(self, look: Look) -> int:
        return self._looks.setdefault(look, len(self._looks))


def last_growth() -> Growth:
    """A growth of nothing that ends the job."""
    return replace(TokenTreePlan().growth([], []), last=True)


def views(grown: Grown) -> Iterator[View]:
    """The views in an answer, in order."""
    start = 0
    token_ids, logprobs = grown.top_token_ids.tolist(), grown.top_logprobs.tolist()
    for count, log_mass in zip(grown.top_counts.tolist(), grown.log_masses.tolist(), strict=True):
        stop = start + count
        yield View(token_ids[start:stop], logprobs[start:stop], log_mass)
        start = stop


def score_paths(
    plan: TokenTreePlan,
    paths: Iterable[Path],
    *,
    end_look: Look | None = None,
    kept: bool = False,
    forgets: bool = False,
) -> TreeWork[list[ScoredPath]]:
    """How likely each path is. What paths share is computed once.

    Args:
        plan: of the tree.
        paths: in any order; those that share a beginning had better be neighbours.
        end_look: what to look for behind each path's last token.
        kept: whether the tree may go on from their ends.
        forgets: whether earlier nodes are kept no longer.
    """
    bundles = bundle_paths(paths)
    return (yield from score_bundles(plan, bundles, end_look=end_look, kept=kept, forgets=forgets))


def score_bundles(
    plan: TokenTreePlan,
    bundles: Iterable[PathBundle],
    *,
    end_look: Look | None = None,
    kept: bool = False,
    forgets: bool = False,
) -> TreeWork[list[ScoredPath]]:
    """``score_paths`` of what ``bundle_paths`` gave: the same bundles serve many trees."""
    scored: list[ScoredPath] = []
    for bundle in bundles:
        scored += yield from bundle.score(plan, end_look, kept, forgets and not scored)
    return scored


def bundle_paths(paths: Iterable[Path]) -> Iterator[PathBundle]:
    """``paths`` in bundles of no more nodes than the engine is to hold at a time."""
    gathered: list[Path] = []
    num_tokens = 0
    for path in paths:
        gathered.append(path)
        num_tokens += len(path.token_ids)
        if num_tokens >= _NODES_PER_GROWTH:
            yield PathBundle(gathered)
            gathered, num_tokens = [], 0
    if gathered:
        yield PathBundle(gathered)


class PathBundle:
    """Paths that one growth scores, as a tree of their tokens; its nodes are numbered from 0."""

    def __init__(self, paths: Sequence[Path]) -> None:
        nodes: dict[tuple[int, int], int] = {}
        self._scored: list[bool] = []
        self._chains: list[tuple[Path, IntArray]] = []
        for path in paths:
            node = ~path.node  # the tree's own nodes are the negative ones here
            chain = []
            for place, token_id in enumerate(path.token_ids):
                node = nodes.setdefault((node, token_id), len(nodes))
                if node == len(self._scored):
                    self._scored.append(False)
                self._scored[node] |= place >= path.num_read
                chain.append(node)
            self._chains.append((path, np.array(chain, np.int32)))
        self._parents = np.array([parent for parent, _ in nodes], np.int32)
        self._token_ids = np.array([token_id for _, token_id in nodes], np.int32)
        self._ends = sorted({int(chain[-1]) for _, chain in self._chains if chain.size})

    def score(
        self, plan: TokenTreePlan, end_look: Look | None, kept: bool, forgets: bool
    ) -> TreeWork[list[ScoredPath]]:
        """How likely each path is in the tree of ``plan``."""
        first, num_nodes = plan.num_nodes, len(self._token_ids)
        looks: list[Look | None] = [None] * num_nodes
        is_kept = [False] * num_nodes
        for node in self._ends:
            looks[node] = end_look
            is_kept[node] = kept
        grown = yield plan.growth(
            np.where(self._parents < 0, ~self._parents, self._parents + first),
            self._token_ids,
            scored=self._scored,
            looks=looks,
            kept=is_kept,
            forgets=forgets,
        )
        view_of = dict(zip(self._ends, views(grown), strict=True)) if end_look else {}
        return [
            ScoredPath(
                math.fsum(grown.logprobs[chain[path.num_read :]].tolist()),
                first + int(chain[-1]) if chain.size else path.node,
                view_of.get(int(chain[-1])) if chain.size else None,
            )
            for path, chain in self._chains
        ]


def likeliest_token(plan: TokenTreePlan) -> TreeWork[int]:
    """The most likely token at the root."""
    grown = yield plan.growth([], [], root_look=Look(top_k=1))
    (view,) = views(grown)
    return view.token_ids[0]


def sum_hidden(plan: TokenTreePlan, token_ids: Sequence[int]) -> TreeWork[NDArray[np.float64]]:
    """The sum of the last layer's hidden states after each of ``token_ids``: [hidden]."""
    grown = yield plan.growth([*range(len(token_ids))], token_ids, pooled=True)
    return grown.hidden_sum
