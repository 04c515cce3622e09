"""Jobs that finish a request wait for room."""

from types import SimpleNamespace

import pytest

from service import follow_up
from service.engine.errors import EngineUnavailableError, OverloadedError
from service.engine.request import Finished, Job
from service.engine_client import JobStream
from service.errors import ApiError
from service.follow_up import run_follow_up
from service.peer import ClientGoneError

FULL = OverloadedError("the queue is full", 1.0)
END = [Finished("a", "length")]


class Nobody:
    """Takes a stream's wish to end jobs."""

    def abandon(self, job_ids):
        pass


def run(*answers, deadline=1e12, gone=False, monkeypatch):
    """The events of one job whose submissions are answered with ``answers``, one after another."""
    monkeypatch.setattr(follow_up, "PEER_CHECK_SECONDS", 0.0)
    left = list(answers)

    def submit(jobs):
        stream = JobStream(Nobody(), [job.job_id for job in jobs])
        stream.put(left.pop(0))
        return stream

    model = SimpleNamespace(engines=SimpleNamespace(submit=submit))
    peer = SimpleNamespace(gone=lambda: gone)
    job = Job(job_id="a", deadline=deadline)
    events = [event for part in run_follow_up(model, [job], peer) for event in part]
    assert not left
    return events


def test_room_at_once(monkeypatch):
    assert run(END, monkeypatch=monkeypatch) == END


def test_a_full_queue_is_tried_again(monkeypatch):
    assert run(FULL, FULL, END, monkeypatch=monkeypatch) == END


def test_not_past_the_deadline(monkeypatch):
    with pytest.raises(ApiError) as caught:
        run(FULL, deadline=0.0, monkeypatch=monkeypatch)
    assert caught.value.code == "request_timeout"


def test_not_for_a_client_who_left(monkeypatch):
    with pytest.raises(ClientGoneError):
        run(FULL, gone=True, monkeypatch=monkeypatch)


def test_other_failures_are_final(monkeypatch):
    with pytest.raises(ApiError) as caught:
        run(EngineUnavailableError("gone"), monkeypatch=monkeypatch)
    assert caught.value.code == "engine_unavailable"
