"""How long streams let tokens gather between chunks."""

from contextlib import ExitStack

from service.chunk_pace import ChunkPace


def pauses_among(num_streams):
    slept = []
    pace = ChunkPace(slept.append)
    with ExitStack() as streams:
        for _ in range(num_streams):
            streams.enter_context(pace)
        pace.pause()
    return slept


def test_a_stream_alone_writes_every_token_at_once():
    assert pauses_among(1) == []


def test_the_more_streams_the_longer_tokens_gather_and_never_for_long():
    slept = [pauses_among(num_streams)[0] for num_streams in (2, 8, 32, 500, 5000)]
    assert slept == sorted(slept)
    assert slept[0] < slept[2] < slept[3] == slept[4] <= 0.05


def test_streams_together_write_no_more_chunks_a_second_than_two_would():
    rates = [num_streams / pauses_among(num_streams)[0] for num_streams in range(2, 100)]
    assert max(rates) == rates[0]


def test_streams_that_have_ended_do_not_count():
    slept = []
    pace = ChunkPace(slept.append)
    with pace, pace:
        pass
    with pace:
        pace.pause()
    assert slept == []
