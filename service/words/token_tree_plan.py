"""The worker's side of a token tree: numbers its nodes, writes its growths and reads the answers.

What an endpoint does with a tree is a generator: it yields each ``Growth`` and is sent the
``Grown`` that answers it. So it can be run on an engine, or in a test on anything else.
"""

from __future__ import annotations

import math
from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeVar

import numpy as np

from service.engine.growth import Grown, Growth, Look

ResultT = TypeVar("ResultT")

#: Work on a tree that ends with a result.
TreeWork = Generator[Growth, Grown, ResultT]

#: The end of the prompt.
ROOT = 0

#: Nodes of one growth: what the engine holds at a time of a request with very many.
_NODES_PER_GROWTH = 20_000


class View(NamedTuple):
    """What one look showed."""

    token_ids: list[int]
    logprobs: list[float]
    log_mass: float


class ScoredPath(NamedTuple):
    """Tokens in a row behind some node.

    Attributes:
        logprob: of all of them.
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
        parents: Sequence[int],
        token_ids: Sequence[int],
        *,
        scored: Sequence[bool] | None = None,
        looks: Sequence[Look | None] | None = None,
        root_look: Look | None = None,
        kept: bool = False,
        pooled: bool = False,
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
            kept=kept,
            pooled=pooled,
        )

    def _number(self, look: Look) -> int:
        return self._looks.setdefault(look, len(self._looks))


def last_growth() -> Growth:
    """A growth of nothing that ends the job."""
    growth = TokenTreePlan().growth([], [])
    return Growth(
        parents=growth.parents,
        token_ids=growth.token_ids,
        scored=growth.scored,
        look_of=growth.look_of,
        last=True,
    )


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
    paths: Sequence[tuple[int, Sequence[int]]],
    *,
    num_unscored: int = 0,
    end_look: Look | None = None,
    kept: bool = False,
) -> TreeWork[list[ScoredPath]]:
    """How likely each path is: tokens behind a node. What paths share is computed once.

    Args:
        plan: of the tree.
        paths: node and token ids; the node is kept, or ``ROOT``. Empty ones have logprob 0.
        num_unscored: so many first tokens of each path are only read.
        end_look: what to look for behind each path's last token.
        kept: whether the tree may go on from them.
    """
    scored: list[ScoredPath] = []
    start = 0
    while start < len(paths):
        stop, num_nodes = start, 0
        while stop < len(paths) and (stop == start or num_nodes < _NODES_PER_GROWTH):
            num_nodes += len(paths[stop][1])
            stop += 1
        scored += yield from _score_together(plan, paths[start:stop], num_unscored, end_look, kept)
        start = stop
    return scored


def _score_together(
    plan: TokenTreePlan,
    paths: Sequence[tuple[int, Sequence[int]]],
    num_unscored: int,
    end_look: Look | None,
    kept: bool,
) -> TreeWork[list[ScoredPath]]:
    first = plan.num_nodes
    nodes: dict[tuple[int, int], int] = {}
    is_scored: list[bool] = []
    path_nodes: list[list[int]] = []
    for start, token_ids in paths:
        node = start
        path_nodes.append([])
        for place, token_id in enumerate(token_ids):
            node = nodes.setdefault((node, token_id), first + len(nodes))
            if node == first + len(is_scored):
                is_scored.append(False)
            is_scored[node - first] |= place >= num_unscored
            path_nodes[-1].append(node)
    ends = {chain[-1] for chain in path_nodes if chain}
    looks = [end_look if first + index in ends else None for index in range(len(nodes))]
    grown = yield plan.growth(
        [parent for parent, _ in nodes],
        [token_id for _, token_id in nodes],
        scored=is_scored,
        looks=looks,
        kept=kept,
    )
    logprobs = grown.logprobs.tolist()
    view_of = dict(zip(sorted(ends), views(grown), strict=True)) if end_look else {}
    return [
        ScoredPath(
            math.fsum(logprobs[node - first] for node in chain[num_unscored:]),
            chain[-1] if chain else start,
            view_of.get(chain[-1]) if chain else None,
        )
        for (start, _), chain in zip(paths, path_nodes, strict=True)
    ]
