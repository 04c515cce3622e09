"""From a row of logits to a token: the parameters, the random numbers, the filters, the draw."""

from model.sampling.logit_edits import TokenCounts
from model.sampling.params import SamplingParams
from model.sampling.sampler import NO_TOKEN, SamplingPlan, sample, sample_batch

__all__ = ["NO_TOKEN", "SamplingParams", "SamplingPlan", "TokenCounts", "sample", "sample_batch"]
