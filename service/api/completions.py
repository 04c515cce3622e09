"""``POST /v1/completions``."""

from __future__ import annotations

import logging
from collections.abc import Generator, Iterator, Sequence

from flask import Blueprint, Response, g, request

from service import sse
from service.api.intake import take_request
from service.chunk_pace import ChunkPace
from service.completion_answer import CompletionAnswer
from service.completion_room import check_completion_room
from service.completion_run import CompletionRun, FollowUp
from service.engine.request import Event
from service.engine_client import JobStream
from service.errors import ApiError
from service.follow_up import run_follow_up
from service.front import Front
from service.job_events import engine_errors_as_api_errors, read_events
from service.new_id import new_id
from service.peer import ClientGoneError, Peer
from service.prompts import PromptOptions, prepare_prompts
from service.protocol.completions import CompletionRequest
from service.request_record import current_record
from service.request_states import open_states, request_states
from service.served_model import ServedModel

logger = logging.getLogger(__name__)

#: Of all streams of this process.
_PACE = ChunkPace()


def completions_blueprint(front: Front) -> Blueprint:
    """The endpoint over ``front``."""
    blueprint = Blueprint("completions", __name__)

    @blueprint.post("/v1/completions", provide_automatic_options=False)
    def create_completion() -> Response:
        model, body = take_request(front, CompletionRequest)
        work = _begin(front, model, body)
        return _streamed(work) if body.stream else _plain(work)

    return blueprint


class _Work:
    """One request under way: its run, its answer, and the events it lives on."""

    def __init__(
        self,
        model: ServedModel,
        run: CompletionRun,
        answer: CompletionAnswer,
        stream: JobStream,
        peer: Peer,
    ) -> None:
        self.run = run
        self.answer = answer
        self.peer = peer
        self._model = model
        self._stream = stream
        self._events = read_events(stream, peer)
        self._request_id: str = g.request_id
        self._record = current_record()

    def wait_for_place(self) -> None:
        """Waits until the first job has left the queue, or ended.

        Raises:
            ApiError: the request failed; nothing is left running.
            ClientGoneError: the client closed its connection; likewise.
        """
        try:
            self._take(next((events for events in self._events if events), []))
        except BaseException:
            self.close()
            raise

    def steps(self) -> Iterator[None]:
        """Works on to the end, giving control back after every batch of events.

        Raises:
            ApiError, ClientGoneError: as ``wait_for_place``.
        """
        try:
            while not self.run.finished:
                yield
                self._take(next(self._events))
            yield
            self._stream.close()
            for follow_up in self.run.follow_ups():
                yield from self._follow_up(follow_up)
            yield
            logger.info("%s %s", self._request_id, self.run.summary())
        except ClientGoneError:
            logger.info("%s client gone: %s", self._request_id, self.run.summary())
            raise
        finally:
            self.close()

    def _follow_up(self, follow_up: FollowUp) -> Iterator[None]:
        if follow_up.jobs:
            for events in run_follow_up(self._model, follow_up.jobs, self.peer):
                follow_up.take(events)
                yield

    def close(self) -> None:
        """Cancels what still runs."""
        self._stream.close()
        usage = self.run.usage()
        self._record.note_usage(usage.prompt_tokens, usage.completion_tokens)

    def _take(self, events: Sequence[Event]) -> None:
        done = self.run.take(events)
        if done:
            self._stream.cancel(done)


def _begin(front: Front, model: ServedModel, body: CompletionRequest) -> _Work:
    check_completion_room(model, body)
    options = PromptOptions(
        truncate_tokens=body.truncate_prompt_tokens,
        add_special_tokens=body.add_special_tokens,
        parse_special=body.parse_special,
        skip_special_tokens=body.skip_special_tokens,
    )
    prompts = prepare_prompts(model, body.prompt, options)
    if body.suffix:
        prepare_prompts(model, [body.suffix], PromptOptions(param="suffix"))
    states = request_states(front, model)
    for prompt, before in zip(prompts, open_states(states, body.state, len(prompts)), strict=True):
        prompt.before = before
    answer_id = new_id("cmpl")
    run = CompletionRun(model, body, prompts, states, run_id=answer_id, client=g.client)
    with engine_errors_as_api_errors():
        stream = model.engines.submit(run.jobs)
    answer = CompletionAnswer(model, body, prompts, run, answer_id)
    return _Work(model, run, answer, stream, Peer(request.environ))


def _plain(work: _Work) -> Response:
    work.wait_for_place()
    for _ in work.steps():
        pass
    return Response(work.answer.plain(), mimetype="application/json")


def _streamed(work: _Work) -> Response:
    work.wait_for_place()
    response = Response(_stream(work), headers=dict(sse.HEADERS))
    response.call_on_close(work.close)
    return response


def _stream(work: _Work) -> Generator[bytes]:
    yield b""  # sends the status line: the request has left the queue
    yield from sse.with_pings(_events(work))


def _events(work: _Work) -> Generator[bytes]:
    """What there is to send after every look at the engine; empty where there is nothing."""
    try:
        with _PACE:
            for _ in work.steps():
                chunks = b"".join(work.answer.chunks())
                yield chunks
                if chunks and not work.run.finished:
                    _PACE.pause()
        yield (work.answer.usage_chunk() or b"") + sse.DONE
    except ApiError as error:
        work.peer.hang_up()
        yield sse.error_event(error.body())
    except ClientGoneError:
        return
