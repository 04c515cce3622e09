"""Which engine gets which jobs."""

from hypothesis import given
from hypothesis import strategies as st

from service.engine.request import Job
from service.engine_client.placement import Load, Readers, Tally, is_brief, join, spread
from service.words.token_tree_plan import last_growth

BRIEF_LOADS = st.lists(
    st.builds(lambda brief, more, room: Load(brief + more, room, brief), *[st.integers(0, 9)] * 3),
    min_size=1,
    max_size=4,
)
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


@given(BRIEF_LOADS, st.none() | st.integers(0, 3), st.integers(0, 5))
def test_a_brief_job_goes_where_the_fewest_are_that_are_not(loads, favourite, first):
    counts = join(loads, favourite, first)
    with_room = [load for load in loads if load.room]
    assert (counts is None) == (not with_room)
    if counts is None:
        return
    assert sum(counts) == 1
    chosen = loads[counts.index(1)]
    assert chosen.room
    assert chosen.held - chosen.brief == min(load.held - load.brief for load in with_room)


def test_brief_jobs_keep_together_unless_there_is_a_reason():
    assert join([Load(0, 9), Load(0, 9)]) == [1, 0]
    assert join([Load(5, 9, 5), Load(0, 9)]) == [1, 0]
    assert join([Load(5, 9, 4), Load(0, 9)]) == [0, 1]
    assert join([Load(5, 0, 5), Load(3, 9)]) == [0, 1]
    assert join([Load(0, 9), Load(0, 9)], favourite=1) == [0, 1]
    assert join([Load(0, 9), Load(0, 9)], first=1) == [0, 1]
    assert join([Load(0, 9), Load(0, 9)], first=2) == [1, 0]
    assert join([Load(1, 9), Load(0, 9)], favourite=0) == [0, 1]


def test_brief_is_what_wants_only_scores_of_a_short_prompt():
    assert is_brief(job(range(64), max_tokens=0))
    assert not is_brief(job(range(65), max_tokens=0))
    assert not is_brief(job(range(3), max_tokens=1))
    assert not is_brief(job(range(3), max_tokens=0, growth=last_growth()))


@given(st.lists(st.tuples(st.sampled_from("ab"), st.booleans())))
def test_a_tally_is_right_at_any_time(moves):
    jobs = {"a": job(range(3), max_tokens=0), "b": job(range(3))}
    tally, held = Tally(), []
    for name, comes in moves:
        if comes:
            tally.add([jobs[name]])
            held.append(name)
        elif name in held:
            tally.take_off([jobs[name]])
            held.remove(name)
        assert (tally.num_jobs, tally.num_brief) == (len(held), held.count("a"))


def job(prompt, **fields):
    return Job(job_id="a", prompt_token_ids=tuple(prompt), **fields)


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
