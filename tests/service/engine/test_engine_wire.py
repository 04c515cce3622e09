import dataclasses

import msgpack
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from model.sampling import SamplingParams
from service.engine.growth import Grown, Growth, Look
from service.engine.request import (
    EngineStatus,
    Finished,
    Job,
    NextTokens,
    PromptScored,
    Sampled,
    Started,
    TokenScores,
)
from service.engine.wire import (
    Cancel,
    Events,
    Grow,
    Hello,
    Ping,
    Refused,
    Submit,
    Welcome,
    WireError,
    decode_to_engine,
    decode_to_worker,
    encode,
)

STATUS = EngineStatus(
    **{
        field.name: {"str": "x", "bool": True, "int": 3, "float": 0.5}.get(field.type, (1, 2))
        for field in dataclasses.fields(EngineStatus)
    }
)
SCORES = TokenScores(
    np.array([-1.5, -2.25], np.float32),
    np.array([[4, 5, 6], [7, 8, 9]], np.int32),
    np.array([[-0.1, -0.2, -0.3], [-1, -2, -3]], np.float32),
)
EVENTS = (
    Started("a", 64, 0.25),
    PromptScored("a", 1, SCORES, np.array([1, 200], np.int32)),
    Sampled("a", (1,)),
    Sampled("b", (1, 2, 70000)),
    Sampled("c", (3, 4), SCORES),
    Finished("a", "length", num_prompt_tokens=7, state=b"\0\xff" * 8),
    Finished(
        "b",
        "stop",
        stop_token_id=0,
        next=NextTokens(np.array([5], np.int32), np.array([-0.5], np.float32), 0.6, 1.5),
    ),
    Grown(
        "d",
        np.array([-1.5], np.float32),
        np.array([2], np.int32),
        np.array([4, 5], np.int32),
        np.array([-1, -2], np.float32),
        np.array([-0.5]),
        np.zeros(0),
    ),
    Finished("c", "error", error_code="step_failed", error_message="the model failed"),
)


def plain(value):
    """A value as nested tuples, so that arrays compare."""
    if isinstance(value, np.ndarray):
        return (str(value.dtype), value.shape, value.tolist())
    if dataclasses.is_dataclass(value):
        names = [field.name for field in dataclasses.fields(value)]
        return (type(value).__name__, *(plain(getattr(value, name)) for name in names))
    if isinstance(value, tuple):
        return tuple(plain(item) for item in value)
    return value


@pytest.mark.parametrize(
    "message",
    [
        Welcome(1, STATUS),
        STATUS,
        Refused(("a", "b"), "overloaded", "the queue is full", 3),
        Events(EVENTS),
        Events(()),
    ],
    ids=lambda message: type(message).__name__,
)
def test_what_the_engine_says_arrives_as_it_was(message):
    assert plain(decode_to_worker(encode(message))) == plain(message)


ids = st.integers(0, 2**31 - 1)
jobs = st.builds(
    Job,
    job_id=st.text(min_size=1),
    prompt_token_ids=st.lists(ids).map(tuple),
    state=st.none() | st.binary(),
    sampling=st.builds(
        SamplingParams,
        seed=st.integers(-(2**63), 2**63 - 1),
        temperature=st.floats(0, 2),
        logit_bias=st.dictionaries(ids, st.floats(-100, 100)),
    ),
    stop_token_ids=st.lists(ids).map(tuple),
    logprobs=st.none() | st.integers(0, 20),
    deadline=st.none() | st.floats(0, 1e9),
)


@given(st.lists(jobs, max_size=3))
@settings(max_examples=25)
def test_what_a_worker_says_arrives_as_it_was(several):
    for message in (Submit("engine", tuple(several)), Cancel(("a",)), Hello(1), Ping()):
        assert decode_to_engine(encode(message)) == message


def test_what_a_tree_is_to_grow_arrives_as_it_was():
    growth = Growth(
        parents=np.array([0, 1], np.int32),
        token_ids=np.array([7, 8], np.int32),
        scored=np.array([True, False]),
        look_of=np.array([-1, 0], np.int32),
        kept=np.array([False, True]),
        new_looks=(Look(top_k=3, within=b"\0\1", temperature=0.5),),
    )
    for message in (Grow("a", growth), Submit("engine", (Job(job_id="a", growth=growth),))):
        assert plain(decode_to_engine(encode(message))) == plain(message)


@given(st.binary(max_size=200))
@settings(max_examples=60)
def test_noise_is_refused(data):
    with pytest.raises(WireError):
        decode_to_engine(data)


@given(st.integers(0, 10**6), st.integers(0, 255))
@settings(max_examples=300)
def test_a_damaged_message_is_refused_or_read_but_nothing_else(place, value):
    data = bytearray(encode(Submit("engine", (Job(job_id="a", prompt_token_ids=(1, 2)),))))
    data[place % len(data)] = value
    try:
        decode_to_engine(bytes(data))
    except WireError as error:
        assert "message" in str(error)


@pytest.mark.parametrize(
    "data",
    [
        encode(STATUS),  # the wrong direction
        encode(Hello(1))[:-1],
        msgpack.packb(msgpack.ExtType(99, b"\x90")),
        msgpack.packb(msgpack.ExtType(1, msgpack.packb((1, 2)))),  # a field too many
        msgpack.packb(msgpack.ExtType(7, msgpack.packb(((),)))),  # tokens of no job
        msgpack.packb([1, 2]),
    ],
)
def test_other_messages_are_refused(data):
    with pytest.raises(WireError):
        decode_to_engine(data)


def test_params_out_of_bounds_do_not_get_in():
    good = encode(Submit("engine", (Job(job_id="a"),)))
    bad = good.replace(msgpack.packb(1.0), msgpack.packb(9.0))
    assert bad != good
    with pytest.raises(WireError, match="temperature is 9"):
        decode_to_engine(bad)
