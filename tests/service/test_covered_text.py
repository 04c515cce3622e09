"""How much of a text whole tokens cover, against a search through all prefixes."""

from hypothesis import given
from hypothesis import strategies as st

from service.covered_text import CoveredText, covered_text

SOME_BYTES = [
    b"a",
    b"b",
    b"\xe2",
    b"\x82",
    b"\xac",
    b"\xe2\x82",
    b"\xac!",
    "\u00e9".encode(),
    b"\xff",
]


def text_of(data):
    return data.decode("utf-8", "replace")


def longest_run(pieces, num_characters, pending):
    """The definition: the last place between tokens, within the text, that splits no character."""
    whole = text_of(pending + b"".join(pieces))
    best = (0, 0)
    for num_tokens in range(len(pieces) + 1):
        before = text_of(pending + b"".join(pieces[:num_tokens]))
        after = text_of(b"".join(pieces[num_tokens:]))
        if before + after == whole and len(before) <= num_characters:
            best = (num_tokens, len(before))
    return CoveredText(*best, rest=whole[best[1] : num_characters])


@given(
    st.lists(st.sampled_from([b"", *SOME_BYTES]), max_size=9),
    st.sampled_from([b"", b"\xe2", b"\xe2\x82"]),
    st.data(),
)
def test_the_longest_run_of_whole_tokens(pieces, pending, data):
    length = len(text_of(pending + b"".join(pieces)))
    num_characters = data.draw(st.integers(0, length))
    found = covered_text(pieces, num_characters, pending=pending, show_pending=True)
    assert found == longest_run(pieces, num_characters, pending)


def test_a_stop_string_may_cut_a_token():
    pieces = [b"One ", b"fine day", b"!"]
    assert covered_text(pieces, 8, pending=b"", show_pending=False) == (1, 4, "fine")


def test_a_character_is_covered_by_all_of_its_tokens_or_none():
    pieces = [b"a", b"\xe2", b"\x82", b"\xac"]
    assert covered_text(pieces, 2, pending=b"", show_pending=False) == (4, 2, "")
    assert covered_text([*pieces[:3], b"\xac.x"], 2, pending=b"", show_pending=False) == (
        1,
        1,
        "\u20ac",
    )
