"""What is asked and told of the token tree a job grows behind its prompt. Owns no behaviour.

After its prompt a job may try many continuations at once: score a thousand candidates, look into
the distributions behind the most promising ones, go on from there. They form a tree. Node 0 is the
end of the prompt; every further node is a token behind the node that is its parent. A tree grows by
one ``Growth`` after the other, each answered by one ``Grown``, until one is the ``last``. However
many nodes it has, a tree is one sequence: it holds one slot, and its work is done in small portions
beside everybody else's.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from model.state import FloatArray, IntArray

BoolArray = NDArray[np.bool_]


@dataclass(frozen=True, kw_only=True, slots=True)
class Look:
    """What is to be known of the distribution behind a node.

    Attributes:
        top_k: so many of the most likely tokens; 0: none.
        within: the tokens to choose them from: a byte for each token id, 1 or 0; None: all.
        mass_of: the tokens whose probability is summed, likewise; None: no sum.
        temperature: at which both are meant; positive.
    """

    top_k: int = 0
    within: bytes | None = None
    mass_of: bytes | None = None
    temperature: float = 1.0


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class Growth:
    """Nodes to add to a tree. They are numbered on, from the number of nodes there are already.

    Attributes:
        parents: [nodes] int32, the node each one follows: an earlier one of this growth, or a node
            of an earlier growth that was ``kept``, or 0.
        token_ids: [nodes] int32.
        scored: [nodes] bool: whose logprob is to be told.
        look_of: [nodes] int32: which look to take behind each, -1 for none. Looks are numbered
            through all growths of a tree.
        new_looks: looks that are numbered on from those there are already.
        root_look: a look behind node 0; -1 for none.
        kept: [nodes] bool: which ones later growths may go on from.
        forgets: nodes of earlier growths are kept no longer.
        pooled: tell the sum of the last layer's hidden states over these nodes.
        last: nothing follows; the job ends with this growth.
    """

    parents: IntArray
    token_ids: IntArray
    scored: BoolArray
    look_of: IntArray
    kept: BoolArray
    new_looks: tuple[Look, ...] = ()
    root_look: int = -1
    forgets: bool = False
    pooled: bool = False
    last: bool = False


@dataclass(frozen=True, slots=True, eq=False)
class Grown:
    """The answer to one ``Growth``.

    Attributes:
        job_id: of which job.
        logprobs: [nodes] float32: of each scored token behind its parent; 0 for the others.
        top_counts: [looks taken] int32: how many of the entries below belong to each look: that
            behind node 0 first, if asked for, then those of the nodes in order.
        top_token_ids: [entries] int32: descending by probability within a look.
        top_logprobs: [entries] float32.
        log_masses: [looks taken] float64: logarithms of the sums; ``MIN_LOGPROB`` for none.
        hidden_sum: [hidden] float64 if pooled, else empty.
    """

    job_id: str
    logprobs: FloatArray
    top_counts: IntArray
    top_token_ids: IntArray
    top_logprobs: FloatArray
    log_masses: NDArray[np.float64]
    hidden_sum: NDArray[np.float64]
