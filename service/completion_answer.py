"""The answer to a completion request, written from its choices' pieces: plain or as a stream."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

from service.candidate import Candidate, Piece
from service.completion_run import CompletionRun
from service.prompts import PreparedPrompt
from service.protocol.completions import Completion, CompletionChoice, CompletionRequest, Logprobs
from service.served_model import ServedModel
from service.sse import event


class CompletionAnswer:
    """Writes one request's answer object, whole or chunk by chunk."""

    def __init__(
        self,
        model: ServedModel,
        request: CompletionRequest,
        prompts: Sequence[PreparedPrompt],
        run: CompletionRun,
        answer_id: str,
    ) -> None:
        """``run`` is the work on ``prompts`` that ``request`` asked for."""
        self._request = request
        self._prompts = prompts
        self._run = run
        self._head: dict[str, Any] = {
            "id": answer_id,
            "object": "text_completion",
            "created": int(time.time()),
            "model": model.id,
            "system_fingerprint": model.fingerprint,
            "seed": run.seed,
        }
        num_choices = len(prompts) * request.n
        self._ended = [False] * num_choices
        self._begun = [False] * num_choices

    def plain(self) -> str:
        """The whole answer as JSON, once every candidate has finished."""
        choices = [self._whole_choice(index) for index in range(len(self._run.choices))]
        return _to_json(Completion(**self._head, choices=choices, usage=self._run.usage()))

    def chunks(self) -> Iterator[bytes]:
        """An event for every choice that has something new, and one for the end of each."""
        for index, candidate in enumerate(self._run.choices):
            if self._ended[index]:
                continue
            pieces = list(self._run.pieces(index))
            for piece in pieces:
                yield self._chunk(self._choice(index, piece))
            if candidate.complete:
                self._ended[index] = True
                yield self._chunk(self._choice(index, candidate.take_rest(), ended_by=candidate))

    def usage_chunk(self) -> bytes | None:
        """The last event before the end, if the client asked for it: the usage of all choices."""
        options = self._request.stream_options
        if options is None or not options.include_usage:
            return None
        return event(_to_json(Completion(**self._head, choices=[], usage=self._run.usage())))

    def _chunk(self, choice: CompletionChoice) -> bytes:
        options = self._request.stream_options
        fields = dict(self._head, choices=[choice])
        if options is not None and options.continuous_usage_stats:
            fields["usage"] = self._run.usage()
        elif options is not None and options.include_usage:
            fields["usage"] = None
        return event(_to_json(Completion.model_construct(**fields)))

    def _choice(
        self, index: int, piece: Piece, ended_by: Candidate | None = None
    ) -> CompletionChoice:
        fields: dict[str, Any] = {
            "index": index,
            "text": piece.text,
            "logprobs": piece.logprobs,
            "finish_reason": ended_by and ended_by.finish_reason,
            "stop_reason": ended_by and ended_by.stop_reason,
        }
        if self._request.return_token_ids:
            if not self._begun[index]:
                fields["prompt_token_ids"] = self._prompt_token_ids(index)
            fields["token_ids"] = list(piece.token_ids)
        if ended_by is not None and ended_by.state_fields is not None:
            fields |= ended_by.state_fields
        self._begun[index] = True
        return CompletionChoice.model_construct(**fields)

    def _whole_choice(self, index: int) -> CompletionChoice:
        candidate = self._run.choices[index]
        pieces = [*self._run.pieces(index), candidate.take_rest()]
        token_ids = tuple(token_id for piece in pieces for token_id in piece.token_ids)
        text = "".join(piece.text for piece in pieces)
        logprobs = _join([piece.logprobs for piece in pieces if piece.logprobs is not None])
        return self._choice(index, Piece(text, token_ids, logprobs), ended_by=candidate)

    def _prompt_token_ids(self, index: int) -> list[int]:
        return list(self._prompts[index // self._request.n].token_ids)


def _join(parts: Sequence[Logprobs]) -> Logprobs | None:
    if len(parts) <= 1:
        return parts[0] if parts else None
    return Logprobs.model_construct(
        tokens=[item for part in parts for item in part.tokens],
        token_logprobs=[item for part in parts for item in part.token_logprobs],
        top_logprobs=[item for part in parts for item in part.top_logprobs],
        text_offset=[item for part in parts for item in part.text_offset],
    )


def _to_json(answer: Completion) -> str:
    return answer.model_dump_json(exclude_unset=True, ensure_ascii=True)
