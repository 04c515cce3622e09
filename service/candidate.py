"""One sequence being generated: engine events in, pieces of a choice out.

Plain and streamed answers both consist of these pieces, so they cannot differ.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from model.tokenizers.tokenizer import Tokenizer
from service.covered_text import CoveredText, covered_text
from service.detokenizer import Detokenizer
from service.engine.request import Finished, PromptScored, Sampled, Started
from service.job_events import check_finished
from service.prompts import PreparedPrompt
from service.protocol.completions import CompletionRequest, Logprobs
from service.stop_strings import StopStrings
from service.token_logprobs import LOWEST_LOGPROB, TokenLogprobs


@dataclass(frozen=True)
class Piece:
    """A further part of a choice; joined, the parts are the choice."""

    text: str
    token_ids: tuple[int, ...]
    logprobs: Logprobs | None


class PromptEcho:
    """The prompt as the first piece of each of its choices; complete once it is scored."""

    def __init__(self, tokenizer: Tokenizer, prompt: PreparedPrompt, *, scored: bool) -> None:
        self._tokenizer = tokenizer
        self._prompt = prompt
        self._logprobs = TokenLogprobs() if scored else None
        if self._logprobs is not None:
            for token_id in prompt.token_ids[: prompt.num_unscored]:
                self._logprobs.add_unscored(tokenizer, token_id)

    @property
    def complete(self) -> bool:
        """Whether nothing of it is still to be scored."""
        if self._logprobs is None:
            return True
        return len(self._logprobs.tokens) == len(self._prompt.token_ids)

    def add(self, event: PromptScored) -> None:
        """Takes further scores; those of the first token, which shows none, are not asked for."""
        assert self._logprobs is not None
        stop = event.start + len(event.ranks)
        token_ids = self._prompt.token_ids[event.start : stop]
        self._logprobs.add(self._tokenizer, token_ids, event.scores)

    def piece(self) -> Piece:
        """The prompt's text, with its logprobs if there are any."""
        if self._logprobs is None:
            return Piece(self._prompt.echo, (), None)
        num_tokens = len(self._prompt.token_ids)
        return Piece(
            self._prompt.echo, (), self._logprobs.part(0, num_tokens, self._prompt.offsets)
        )


class Candidate:
    """Candidate j of a prompt, as far as it has come.

    Attributes:
        finish_reason: why it ended; None while it goes on.
        stop_reason: the stop string or stop id that ended it.
        num_tokens: tokens sampled, up to and with the one that ended it.
        cached_tokens: prompt tokens the engine had read before.
        queue_seconds: time the job waited.
        prompt: what it continues.
        token_ids: the tokens sampled, up to and with the one that ended the sequence; of a stream
            that needs no more of them, only those not taken yet.
        sampled_logprobs: log P of each, if the job was asked for logprobs.
        engine_state: the state at the job's end, if it was asked for.
        num_state_tokens: how many of the tokens sampled that state has consumed.
        state_fields: what the answer tells of the state; None until it is known.
    """

    def __init__(
        self,
        tokenizer: Tokenizer,
        request: CompletionRequest,
        prompt: PreparedPrompt,
        stops: StopStrings,
        echo: PromptEcho | None,
    ) -> None:
        self.finish_reason: Literal["stop", "length"] | None = None
        self.stop_reason: str | int | None = None
        self.cached_tokens = 0
        self.queue_seconds = 0.0
        self.prompt = prompt
        self.token_ids: list[int] = []
        self.sampled_logprobs: list[float] = []
        self.engine_state: bytes | None = None
        self.num_state_tokens = 0
        self.state_fields: dict[str, Any] | None = None
        self._tokenizer = tokenizer
        self._request = request
        self._detokenizer = Detokenizer(
            stops,
            min_tokens=request.min_tokens,
            include_stop=request.include_stop_str_in_output,
            pending=prompt.pending,
            show_pending=request.echo and prompt.shows_pending,
        )
        self._logprobs = None if request.logprobs is None else TokenLogprobs()
        self._num_taken = 0
        self._num_forgotten = 0
        # A stream may be endless: what has been sent is not kept, unless the end asks for it.
        self._forgets = request.stream and not (request.return_state or request.is_ranked)
        self._num_textless = 0
        self._echo = echo
        self._offset_shift = len(prompt.echo) if echo is not None else 0

    @property
    def num_tokens(self) -> int:
        """Tokens sampled, up to and with the one that ended the sequence."""
        return self._num_forgotten + len(self.token_ids)

    @property
    def finished(self) -> bool:
        """Whether no further text will come."""
        return self.finish_reason is not None

    @property
    def complete(self) -> bool:
        """Whether all is known that the answer tells of it, and the echo has been taken.

        Another candidate's job may score the prompt, and be slower than this one.
        """
        known = self.state_fields is not None or not self._request.return_state
        return self.finished and known and self._echo is None

    def on_started(self, event: Started) -> None:
        """The job left the queue."""
        self.cached_tokens = event.cached_tokens
        self.queue_seconds = event.queue_seconds

    def on_sampled(self, event: Sampled) -> None:
        """Takes further tokens; what comes after a stop string is not looked at."""
        if self.finished:
            return
        used = 0
        for token_id in event.token_ids:
            used += 1
            self._feed(token_id)
            if self._detokenizer.stop_match is not None:
                break
        if event.scores is not None:
            logprobs = event.scores.logprobs[:used].tolist()
            self.sampled_logprobs += [max(logprob, LOWEST_LOGPROB) for logprob in logprobs]
            if self._logprobs is not None:
                self._logprobs.add(self._tokenizer, event.token_ids[:used], event.scores)
        if self._detokenizer.stop_match is not None:
            self._end("stop", self._detokenizer.stop_match)

    def on_finished(self, event: Finished) -> None:
        """The job ended.

        Raises:
            ApiError: it failed.
        """
        if self.finished:
            return
        reason = check_finished(event)
        self.engine_state, self.num_state_tokens = event.state, event.num_state_tokens
        stop_id = event.stop_token_id
        self._end(reason, stop_id if stop_id in self._request.stop_token_ids else None)

    def take(self) -> Piece | None:
        """What has been added since the last call: the prompt's echo first, then text."""
        if self._echo is not None:
            if not self._echo.complete:
                return None
            piece, self._echo = self._echo.piece(), None
            return piece
        release = self._detokenizer.release()
        if not release.text:
            return None
        return self._piece(release.text, release.num_tokens)

    def take_rest(self) -> Piece:
        """After the end, when ``take`` gives nothing more: the tokens that belong to no text."""
        return self._piece("", len(self.token_ids))

    def covered_text(self) -> CoveredText:
        """After the end: how much of the text whole tokens cover.

        All of it and every token, unless a stop string, a stop id or the end token ended it.
        """
        return self._covered_text

    @cached_property
    def _covered_text(self) -> CoveredText:
        assert self.finished
        num_characters = self._detokenizer.num_characters
        if self.finish_reason == "length":
            return CoveredText(len(self.token_ids), num_characters, "")
        pieces = [self._bytes_of(token_id) for token_id in self.token_ids]
        if self._detokenizer.stop_match is None and not (
            pieces[-1] and self._request.include_stop_str_in_output
        ):
            pieces.pop()
        prompt = self.prompt
        return covered_text(
            pieces,
            num_characters,
            pending=prompt.pending,
            show_pending=self._request.echo and prompt.shows_pending,
        )

    def _piece(self, text: str, num_tokens: int) -> Piece:
        start, self._num_taken = self._num_taken, num_tokens
        token_ids = tuple(self.token_ids[start:num_tokens])
        piece = Piece(text, token_ids, self._logprobs_part(start, num_tokens))
        if self._forgets:
            self._forget(num_tokens)
        return piece

    def _forget(self, num_tokens: int) -> None:
        del self.token_ids[:num_tokens]
        del self.sampled_logprobs[:num_tokens]
        self._detokenizer.forget(num_tokens)
        if self._logprobs is not None:
            self._logprobs.forget(num_tokens)
        self._num_taken = 0
        self._num_forgotten += num_tokens

    def _logprobs_part(self, start: int, stop: int) -> Logprobs | None:
        if self._logprobs is None:
            return None
        return self._logprobs.part(start, stop, self._detokenizer.token_offsets, self._offset_shift)

    def _feed(self, token_id: int) -> None:
        self.token_ids.append(token_id)
        if not self._ends_with(token_id) or self._request.include_stop_str_in_output:
            self._detokenizer.feed(self._bytes_of(token_id))
        else:
            self._num_textless = 1

    def _ends_with(self, token_id: int) -> bool:
        """Whether the engine stops at this token, which then is no part of the text."""
        request = self._request
        is_end = token_id == self._tokenizer.end_of_text_id and not request.ignore_eos
        return is_end or token_id in request.stop_token_ids

    def _bytes_of(self, token_id: int) -> bytes:
        return self._tokenizer.token_bytes(token_id, skip_special=self._request.skip_special_tokens)

    def _end(self, reason: Literal["stop", "length"], stop_reason: str | int | None) -> None:
        self._detokenizer.finish(num_textless_tokens=self._num_textless)
        self.finish_reason, self.stop_reason = reason, stop_reason
        if stop_reason is None and self._detokenizer.stop_match is not None:
            self.finish_reason, self.stop_reason = "stop", self._detokenizer.stop_match
