"""The states that a request brings and takes away: for its model and its API key.

How an endpoint uses them::

    states = request_states(front, model)
    snapshots = open_states(states, body.state, len(body.prompt))   # after the token limits
    Job(..., state=snapshot and snapshot.row, return_state=body.return_state)
    after = snapshot_after(states, snapshot, prompt.token_ids, finished.state)
    Data(..., **states.fields(after))
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from flask import g

from service.front import Front
from service.recurrent_state import Snapshot, StateCodec, pending_after
from service.served_model import ServedModel


@dataclass(frozen=True)
class RequestStates:
    """Reads and writes the states of one request.

    Attributes:
        owner: its API key; empty for none.
    """

    model: ServedModel
    codec: StateCodec
    owner: str

    def open(self, text: str) -> Snapshot:
        """The snapshot in ``text``; ``ApiError`` as ``StateCodec.open``."""
        return self.codec.open(text, self.model.state_model, self.owner)

    def seal(self, snapshot: Snapshot) -> str:
        """``snapshot`` as it goes to the client."""
        return self.codec.seal(snapshot, self.model.state_model, self.owner)

    def fields(self, snapshot: Snapshot, offset: int = 0) -> dict[str, Any]:
        """The fields of an answer that tell ``snapshot``.

        ``offset`` is how many characters of the completion it covers.
        """
        return {
            "state": self.seal(snapshot),
            "state_tokens": snapshot.num_tokens,
            "state_offset": offset,
        }


def request_states(front: Front, model: ServedModel) -> RequestStates:
    """For the HTTP request at hand, whose API key, if keys are asked for, is in ``g.api_key``."""
    return RequestStates(model, front.state_codec, g.get("api_key") or "")


def open_states(
    states: RequestStates, field: str | Sequence[str] | None, num_prompts: int
) -> list[Snapshot | None]:
    """The snapshot that each prompt goes on from; None: the start of a document.

    Args:
        states: of the request.
        field: ``state`` as the request has it, checked: one for all prompts, or one for each.
        num_prompts: how many prompts there are.

    Raises:
        ApiError: as ``StateCodec.open``.
    """
    if field is None:
        return [None] * num_prompts
    if isinstance(field, str):
        return [states.open(field)] * num_prompts
    return [states.open(text) for text in field]


def snapshot_after(
    states: RequestStates,
    before: Snapshot | None,
    token_ids: Sequence[int],
    row: bytes,
    *,
    skip_special: bool = True,
) -> Snapshot:
    """The snapshot after ``token_ids`` were read from ``before``.

    Args:
        states: of the request.
        before: what was gone on from; None: the start of a document.
        token_ids: every token the engine fed since, of prompt and completion.
        row: the state after them, as the engine returned it.
        skip_special: whether special tokens contribute no text.
    """
    tokenizer = states.model.tokenizer
    pieces = (tokenizer.token_bytes(token_id, skip_special=skip_special) for token_id in token_ids)
    pending = pending_after(b"" if before is None else before.pending, pieces)
    num_before = 0 if before is None else before.num_tokens
    return Snapshot(row, _count(num_before, token_ids, tokenizer.end_of_text_id), pending)


def _count(num_before: int, token_ids: Sequence[int], end_of_text_id: int) -> int:
    """Tokens since the start of the document; an end token in ``token_ids`` begins another."""
    if end_of_text_id not in token_ids:
        return num_before + len(token_ids)
    return list(reversed(token_ids)).index(end_of_text_id)
