import threading
import time

import pytest

from service.engine.errors import EngineUnavailableError
from service.engine.request import Finished, Sampled, Started
from service.engine_client import JobStream


class Canceller:
    def __init__(self):
        self.cancelled, self.abandoned = [], []

    def cancel(self, job_ids):
        self.cancelled += job_ids

    def abandon(self, job_ids):
        self.abandoned += job_ids


@pytest.fixture
def canceller():
    return Canceller()


@pytest.fixture
def stream(canceller):
    return JobStream(canceller, ["a", "b"])


def sampled(job_id, *token_ids):
    return Sampled(job_id, token_ids)


def test_all_there_is_comes_at_once_and_in_order(stream):
    first, second, third = Started("a", 0, 0.0), sampled("a", 1), sampled("b", 2)
    stream.put([first, second])
    stream.put([third])
    assert stream.next_events() == [first, second, third]
    assert stream.next_events(0.0) == []
    assert stream.next_events(0.01) == []
    assert not stream.done


def test_reading_waits_for_events(stream):
    event = sampled("a", 1)

    def deliver():
        time.sleep(0.02)
        stream.put([event])

    threading.Thread(target=deliver).start()
    assert stream.next_events(30.0) == [event]


def test_a_stream_is_done_when_the_last_job_has_ended(stream):
    stream.put([Finished("b", "length")])
    assert [event.job_id for event in stream.next_events()] == ["b"]
    assert stream.open_job_ids == {"a"}
    stream.put([sampled("a", 1), Finished("a", "stop")])
    assert len(list(stream)) == 2
    assert stream.done
    assert stream.next_events() == []


def test_an_error_comes_after_the_events_before_it_and_ends_the_stream(stream, canceller):
    event = sampled("a", 1)
    stream.put([event])
    stream.put(EngineUnavailableError("gone"))
    assert stream.next_events() == [event]
    assert not stream.done
    with pytest.raises(EngineUnavailableError, match="gone"):
        stream.next_events()
    assert stream.done
    assert stream.next_events() == []
    assert set(canceller.abandoned) == {"a", "b"}, "they may have engines of their own"


def test_leaving_early_abandons_what_is_open(stream, canceller):
    with stream:
        stream.put([Finished("a", "length")])
        stream.next_events()
    assert canceller.abandoned == ["b"]
    stream.close()
    assert canceller.abandoned == ["b"]


def test_only_open_jobs_are_cancelled(stream, canceller):
    stream.put([Finished("a", "length")])
    stream.next_events()
    stream.cancel(["a", "x"])
    assert canceller.cancelled == []
    stream.cancel()
    assert canceller.cancelled == ["b"]
