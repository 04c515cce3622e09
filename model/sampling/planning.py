"""Drawing tokens: with the compiled passes where they are at hand and faster, else with NumPy."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from model.kernel.library import MOST_NEVER, Kernel
from model.sampling.compiled_plan import CompiledSamplingPlan
from model.sampling.logit_edits import TokenCounts
from model.sampling.params import SamplingParams
from model.sampling.sampler import NO_COUNTS, NOTHING, SamplingPlan
from model.state import FloatArray, IntArray


def plan_sampling(
    params: Sequence[SamplingParams], never: Sequence[int] = (), kernel: Kernel | None = None
) -> SamplingPlan | CompiledSamplingPlan:
    """How each row of a batch is sampled, with ``kernel`` where there is one and it is faster."""
    if kernel is None or len(never) > MOST_NEVER or all(p.is_greedy for p in params):
        return SamplingPlan(params, never)
    return CompiledSamplingPlan(params, never, kernel)


def sample_batch(
    logits: FloatArray,
    params: Sequence[SamplingParams],
    positions: Sequence[int],
    *,
    counts: Mapping[int, TokenCounts] = NO_COUNTS,
    banned: Mapping[int, Sequence[int]] = NOTHING,
    never: Sequence[int] = (),
    kernel: Kernel | None = None,
) -> IntArray:
    """One token per row of ``logits`` [batch, vocab]; see ``SamplingPlan.sample``."""
    plan = plan_sampling(params, never, kernel)
    return plan.sample(logits, positions, counts, banned)


def sample(
    logits: FloatArray,
    params: SamplingParams,
    position: int,
    *,
    counts: TokenCounts | None = None,
    banned: Sequence[int] = (),
    never: Sequence[int] = (),
    kernel: Kernel | None = None,
) -> int:
    """One token from one row of ``logits`` [vocab]; as in a batch, bit for bit."""
    row_counts = {0: counts} if counts is not None else NO_COUNTS
    row_banned = {0: banned} if banned else NOTHING
    tokens = sample_batch(
        logits[None],
        [params],
        [position],
        counts=row_counts,
        banned=row_banned,
        never=never,
        kernel=kernel,
    )
    return int(tokens[0])
