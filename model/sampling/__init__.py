"""From a row of logits to a token: the parameters, the random numbers, the filters, the draw."""

from model.sampling.compiled_plan import CompiledSamplingPlan
from model.sampling.logit_edits import TokenCounts
from model.sampling.params import SamplingParams
from model.sampling.planning import plan_sampling, sample, sample_batch
from model.sampling.sampler import NO_TOKEN, SamplingPlan

__all__ = [
    "NO_TOKEN",
    "CompiledSamplingPlan",
    "SamplingParams",
    "SamplingPlan",
    "TokenCounts",
    "plan_sampling",
    "sample",
    "sample_batch",
]
