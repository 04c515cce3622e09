"""From a row of logits to a token: the parameters, the random numbers, the filters, the draw."""

from model.sampling.params import SamplingParams

__all__ = ["SamplingParams"]
