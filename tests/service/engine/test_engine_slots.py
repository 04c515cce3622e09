import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.slots import SlotStates

slot_lists = st.lists(st.integers(0, 4), min_size=1, max_size=5, unique=True)


@given(st.lists(st.tuples(st.sampled_from(["gather", "scatter", "get", "set"]), slot_lists)))
@settings(max_examples=50)
def test_rows_are_what_was_last_written_to_them(operations):
    states = SlotStates(5, 3)
    expected = np.zeros((5, 3), np.float32)
    for number, (operation, slots) in enumerate(operations, start=1):
        if operation == "gather":
            assert (states.gather(slots) == expected[slots]).all()
        elif operation == "get":
            assert (states.get(slots[0]) == expected[slots[0]]).all()
        elif operation == "set":
            expected[slots[0]] = number
            states.set(slots[0], np.full(3, number, np.float32))
        else:
            written = np.arange(len(slots) * 3, dtype=np.float32).reshape(-1, 3) + number
            expected[slots] = written
            states.scatter(slots, written)
    assert (states.gather([0, 1, 2, 3, 4]) == expected).all()


def test_what_is_read_and_written_together_is_not_copied():
    states = SlotStates(4, 2)
    together = np.ones((2, 2), np.float32)
    states.scatter([3, 1], together)
    assert states.gather([3, 1]) is together


def test_a_state_handed_out_is_the_callers_own():
    states = SlotStates(2, 2)
    states.set(0, np.ones(2, np.float32))
    states.get(0)[:] = 7
    assert states.get(0).tolist() == [1, 1]
