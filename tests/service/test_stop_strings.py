"""The automaton against plain searching."""

from hypothesis import given
from hypothesis import strategies as st

from service.stop_strings import StopStrings

texts = st.text("abc", max_size=30)
stop_lists = st.lists(st.text("abc", min_size=1, max_size=4), max_size=5)


def states_of(stops, text):
    state = 0
    for character in text:
        state = stops.next_state(state, character)
        yield state


@given(stop_lists, texts)
def test_match_is_the_longest_stop_string_that_ends_there(strings, text):
    stops = StopStrings(strings)
    for length, state in enumerate(states_of(stops, text), start=1):
        ending = [string for string in strings if text[:length].endswith(string)]
        assert stops.match(state) == max(ending, key=len, default=None)


@given(stop_lists, texts)
def test_held_is_the_longest_end_that_properly_begins_a_stop_string(strings, text):
    stops = StopStrings(strings)
    for length, state in enumerate(states_of(stops, text), start=1):
        beginnings = {string[:size] for string in strings for size in range(len(string))}
        held = max(
            size for size in range(length + 1) if text[length - size : length] in beginnings | {""}
        )
        assert stops.held_characters(state) == held


def test_without_strings_nothing_matches_or_is_held():
    stops = StopStrings(())
    assert stops.next_state(0, "x") == 0
    assert stops.match(0) is None
    assert stops.held_characters(0) == 0


def test_strings_are_kept_once():
    assert StopStrings(["b", "a", "b"]).strings == ("b", "a")
