"""Which engine gets which jobs."""

from hypothesis import given
from hypothesis import strategies as st

from service.engine.request import Job
from service.engine_client.placement import Load, Readers, spread

LOADS = st.lists(st.builds(Load, st.integers(0, 9), st.integers(-2, 9)), min_size=1, max_size=4)


@given(st.integers(1, 40), LOADS, st.none() | st.integers(0, 3))
def test_all_are_placed_if_there_is_room_and_none_else(num_jobs, loads, favourite):
    counts = spread(num_jobs, loads, favourite)
    room = sum(max(0, load.room) for load in loads)
    assert (counts is None) == (num_jobs > room)
    if counts is None:
        return
    assert sum(counts) == num_jobs
    for count, load in zip(counts, loads, strict=True):
        assert 0 <= count <= max(0, load.room)
    # Whoever got one holds no more, before it, than any other with room for it.
    after = [load.held + count for load, count in zip(loads, counts, strict=True)]
    for count, held in zip(counts, after, strict=True):
        for other_count, other_held, load in zip(counts, after, loads, strict=True):
            if count and load.room > other_count:
                assert held - 1 <= other_held


def test_of_equals_the_favourite_is_asked_and_else_the_first():
    idle = [Load(0, 3), Load(0, 3), Load(0, 3)]
    assert spread(1, idle) == [1, 0, 0]
    assert spread(1, idle, favourite=2) == [0, 0, 1]
    assert spread(2, idle, favourite=2) == [1, 0, 1]
    assert spread(1, [Load(0, 3), Load(1, 3)], favourite=1) == [1, 0]
    assert spread(1, [Load(0, 3), Load(0, 0)], favourite=1) == [1, 0]


def job(prompt, state=None):
    return Job(job_id="a", prompt_token_ids=tuple(prompt), state=state)


def test_prompts_that_begin_alike_have_the_same_reader():
    readers = Readers()
    readers.note(job(range(20)), "one")
    readers.note(job(range(100, 130)), "two")
    assert readers.find(job(range(16))) == "one"
    assert readers.find(job([*range(100, 116), 7])) == "two"
    assert readers.find(job(range(1, 30))) is None
    readers.note(job(range(16)), "two")
    assert readers.find(job(range(20))) == "two"


def test_short_prompts_and_states_have_none():
    readers = Readers()
    readers.note(job(range(15)), "one")
    readers.note(job(range(20), state=b"x"), "one")
    assert readers.find(job(range(15))) is None
    assert readers.find(job(range(20))) is None


def test_what_was_read_long_ago_is_forgotten():
    readers = Readers()
    for start in range(5000):
        readers.note(job(range(start, start + 16)), "one")
        readers.note(job(range(16)), "two")
    assert readers.find(job(range(1, 17))) is None
    assert readers.find(job(range(4999, 5015))) == "one"
    assert readers.find(job(range(16))) == "two"
