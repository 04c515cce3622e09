"""How workers and the engine talk: messages as msgpack. Owns the format, no sockets.

Every dataclass travels as a msgpack extension: its code below, then its fields in order. Arrays
travel as their bytes. A sampled token without scores, by far the commonest event, is the tuple
``(job_id, token_id, ...)``. ``VERSION`` changes with every change of a code, a field or a meaning.

worker -> engine   Hello, Submit, Grow, Cancel, Ping
engine -> worker   Welcome, Refused, Events, EngineStatus
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from operator import attrgetter
from typing import Any, Literal, cast

import msgpack
import numpy as np

from model.errors import ForetokenError
from model.sampling import SamplingParams
from service.engine.growth import Grown, Growth, Look
from service.engine.request import (
    EngineStatus,
    Event,
    Finished,
    Job,
    NextTokens,
    PromptScored,
    Sampled,
    Started,
    TokenScores,
)

VERSION = 3


class WireError(ForetokenError):
    """A message is damaged or of another version."""


@dataclass(frozen=True, slots=True)
class Hello:
    """A worker introduces itself, or starts afresh: whatever it had open before is cancelled."""

    version: int


@dataclass(frozen=True, slots=True)
class Welcome:
    """The engine's answer to ``Hello``. Of another ``version``, it will take no job."""

    version: int
    status: EngineStatus


@dataclass(frozen=True, slots=True)
class Submit:
    """Jobs for the engine that called itself ``engine_id``; all are taken, or none."""

    engine_id: str
    jobs: tuple[Job, ...]


@dataclass(frozen=True, slots=True)
class Refused:
    """None of these jobs was taken, and why; there would have been ``room`` for so many."""

    job_ids: tuple[str, ...]
    reason: Literal["overloaded", "shutting_down", "other_engine"]
    message: str
    room: int


@dataclass(frozen=True, slots=True)
class Cancel:
    """End these jobs; each still sends its ``Finished``. Unknown ones are ignored."""

    job_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Grow:
    """Goes on with the token tree of a job; ignored if the job is unknown."""

    job_id: str
    growth: Growth


@dataclass(frozen=True, slots=True)
class Ping:
    """The worker lives."""


@dataclass(frozen=True, slots=True)
class Events:
    """What happened to the worker's jobs, in order."""

    events: tuple[Event, ...]


ToEngine = Hello | Submit | Grow | Cancel | Ping
ToWorker = Welcome | Refused | Events | EngineStatus

_CODES: dict[type, int] = {
    Hello: 1,
    Welcome: 2,
    Submit: 3,
    Refused: 4,
    Cancel: 5,
    Ping: 6,
    Events: 7,
    EngineStatus: 8,
    Grow: 9,
    Job: 16,
    SamplingParams: 17,
    Started: 18,
    PromptScored: 19,
    Sampled: 20,
    Finished: 21,
    TokenScores: 22,
    NextTokens: 23,
    Look: 24,
    Growth: 25,
    Grown: 26,
}
_ARRAY_CODE = 64
#: Where a packer begins to write; it grows. By default it is 256 KiB, which take longer to get from
#: the system than most messages to pack, and a message takes several packers.
_PACKER_BYTES = 1024
_CLASSES = {code: kind for kind, code in _CODES.items()}
_NAMES = {kind: tuple(field.name for field in fields(kind)) for kind in _CODES}


def _getter(names: tuple[str, ...]) -> Callable[[Any], tuple[Any, ...]]:
    if len(names) > 1:
        return attrgetter(*names)
    return lambda instance: tuple(getattr(instance, name) for name in names)


def _maker(kind: type) -> Callable[[tuple[Any, ...]], object]:
    if any(field.kw_only for field in fields(kind)):
        names = _NAMES[kind]
        return lambda values: kind(**dict(zip(names, values, strict=True)))
    return lambda values: kind(*values)


_MAKERS = {kind: _maker(kind) for kind in _CODES}
_GETTERS = {kind: _getter(names) for kind, names in _NAMES.items()}


def encode(message: ToEngine | ToWorker) -> bytes:
    """``message`` as bytes."""
    return _pack(message)


def decode_to_engine(data: bytes) -> ToEngine:
    """The message a worker sent.

    Raises:
        WireError: ``data`` is damaged or no such message.
    """
    return cast(ToEngine, _decode(data, (Hello, Submit, Grow, Cancel, Ping)))


def decode_to_worker(data: bytes) -> ToWorker:
    """The message an engine sent.

    Raises:
        WireError: ``data`` is damaged or no such message.
    """
    return cast(ToWorker, _decode(data, (Welcome, Refused, Events, EngineStatus)))


def _decode(data: bytes, kinds: tuple[type, ...]) -> object:
    try:
        message = _unpack(data)
    except (
        ValueError,
        TypeError,
        AttributeError,
        IndexError,
        ForetokenError,
        msgpack.UnpackException,
    ) as error:
        raise WireError(f"a message of {len(data)} bytes cannot be read: {error}") from error
    if not isinstance(message, kinds):
        raise WireError(f"a message holds an unexpected {type(message).__name__}")
    return message


def _pack(value: object) -> bytes:
    packer = msgpack.Packer(default=_pack_extension, buf_size=_PACKER_BYTES)
    return cast(bytes, packer.pack(value))


def _unpack(data: bytes) -> object:
    return cast(
        object,
        msgpack.unpackb(data, ext_hook=_unpack_extension, use_list=False, strict_map_key=False),
    )


def _pack_extension(value: object) -> msgpack.ExtType:
    kind = type(value)
    if kind is Events:
        return msgpack.ExtType(_CODES[Events], _pack(_plain_events(cast(Events, value))))
    if kind in _CODES:
        return msgpack.ExtType(_CODES[kind], _pack(_GETTERS[kind](value)))
    if isinstance(value, np.ndarray):
        content = np.ascontiguousarray(value)
        return msgpack.ExtType(
            _ARRAY_CODE, _pack((content.dtype.str, content.shape, content.tobytes()))
        )
    raise TypeError(f"a {kind.__name__} cannot be sent")


def _unpack_extension(code: int, data: bytes) -> object:
    values = cast(tuple[Any, ...], _unpack(data))
    if code == _ARRAY_CODE:
        dtype, shape, content = values
        return np.frombuffer(content, dtype).reshape(shape)
    kind = _CLASSES.get(code)
    if kind is None:
        raise WireError(f"unknown message code {code}")
    if kind is Events:
        return Events(_rich_events(values))
    if len(values) != len(_NAMES[kind]):
        raise WireError(f"a {kind.__name__} has {len(values)} fields; expected {len(_NAMES[kind])}")
    return _MAKERS[kind](values)


def _plain_events(message: Events) -> list[object]:
    return [
        (event.job_id, *event.token_ids)
        if type(event) is Sampled and event.scores is None
        else event
        for event in message.events
    ]


def _rich_events(values: tuple[Any, ...]) -> tuple[Event, ...]:
    return tuple(
        Sampled(value[0], value[1:]) if type(value) is tuple else value for value in values
    )
