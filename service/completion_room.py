"""Whether there is room for what a completion request asks for, before any of it is tokenized."""

from __future__ import annotations

from service.errors import ApiError
from service.protocol.completions import CompletionRequest
from service.served_model import ServedModel


def check_completion_room(model: ServedModel, body: CompletionRequest, num_ahead: int = 0) -> None:
    """Refuses what asks for too much, and what there is no room for now.

    Args:
        model: that it asks.
        body: the request.
        num_ahead: sequences that others will have asked for before.

    Raises:
        ApiError: ``too_many_sequences``, ``overloaded``, or as ``ServedModel.check_ready``.
    """
    num_sequences = len(body.prompt) * body.num_candidates
    if num_sequences > model.settings.max_sequences:
        raise ApiError(
            "too_many_sequences",
            f"prompts x candidates (best_of, or at least 8 with suffix) is {num_sequences}; "
            f"at most {model.settings.max_sequences} are allowed",
            param="prompt",
        )
    model.check_room(num_sequences, _multiplier(body), num_ahead)


def _multiplier(body: CompletionRequest) -> str:
    """The field that makes many sequences of the request."""
    if len(body.prompt) > 1:
        return "prompt"
    if body.num_candidates > (body.best_of or body.n):
        return "suffix"
    return "n" if body.best_of is None else "best_of"
