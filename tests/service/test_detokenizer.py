"""Text, stop strings and offsets against definitions over the whole text."""

import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.detokenizer import Detokenizer
from service.stop_strings import StopStrings

# Few characters, so that stop strings are met; some of several bytes; some bytes that are no UTF-8.
CHARACTERS = "ab\u00e9\u20ac\U0001f600\ufffd"
raw_texts = st.lists(
    st.one_of(st.sampled_from(CHARACTERS).map(str.encode), st.binary(min_size=1, max_size=3)),
    max_size=12,
).map(b"".join)
stop_lists = st.lists(st.text(CHARACTERS, min_size=1, max_size=3), max_size=3)


@st.composite
def token_lists(draw):
    """Any bytes, cut anywhere into tokens, some of them empty."""
    raw = draw(raw_texts)
    cuts = sorted(draw(st.lists(st.integers(0, len(raw)), max_size=10)))
    edges = [0, *cuts, len(raw)]
    return [raw[start:stop] for start, stop in itertools.pairwise(edges)]


def run(detokenizer, tokens):
    """Feeds ``tokens`` as a choice does; returns the released texts and token counts."""
    releases = []
    for token in tokens:
        detokenizer.feed(token)
        if detokenizer.stop_match is not None:
            break
        releases.append(detokenizer.release())
    detokenizer.finish()
    releases.append(detokenizer.release())
    return releases


def first_stop(text, stops):
    """Where the text ends and which stop string ended it, by section 6 of the contract."""
    for end in range(1, len(text) + 1):
        ending = [stop for stop in stops if text[:end].endswith(stop)]
        if ending:
            longest = max(ending, key=len)
            return end - len(longest), longest
    return len(text), None


@given(token_lists(), stop_lists)
def test_joined_text_is_the_whole_text_cut_at_the_first_stop(tokens, stops):
    detokenizer = Detokenizer(StopStrings(stops))
    joined = "".join(release.text for release in run(detokenizer, tokens))
    text = b"".join(tokens).decode("utf-8", "replace")
    cut, match = first_stop(text, stops)
    assert (joined, detokenizer.stop_match) == (text[:cut], match)


@given(token_lists(), stop_lists)
def test_the_stop_string_can_be_kept(tokens, stops):
    detokenizer = Detokenizer(StopStrings(stops), include_stop=True)
    joined = "".join(release.text for release in run(detokenizer, tokens))
    text = b"".join(tokens).decode("utf-8", "replace")
    cut, match = first_stop(text, stops)
    assert joined == text[: cut + len(match or "")]


@given(token_lists(), stop_lists)
def test_no_more_is_held_back_than_a_stop_string_needs(tokens, stops):
    detokenizer = Detokenizer(StopStrings(stops))
    released = ""
    raw = b""
    for token in tokens:
        detokenizer.feed(token)
        raw += token
        if detokenizer.stop_match is not None:
            return
        released += detokenizer.release().text
        complete = _complete_part(raw)
        held = complete[len(released) :]
        assert complete.startswith(released)
        longest = max(
            (size for size in range(len(complete) + 1) if _may_become_stop(complete, size, stops)),
            default=0,
        )
        assert len(held) == longest


def _may_become_stop(text, size, stops):
    return any(size < len(stop) and stop.startswith(text[len(text) - size :]) for stop in stops)


def _complete_part(raw):
    """The text of ``raw`` without an incomplete character at its end."""
    for missing in range(4):
        head = raw[: len(raw) - missing]
        tail = raw[len(raw) - missing :]
        if missing == 0 or _is_beginning(tail):
            candidate = head.decode("utf-8", "replace")
            if missing or not any(
                _is_beginning(raw[-size:]) for size in (1, 2, 3) if size <= len(raw)
            ):
                return candidate
    return raw.decode("utf-8", "replace")


def _is_beginning(tail):
    """Whether ``tail`` is a proper beginning of some character's bytes."""
    if not tail:
        return False
    try:
        tail.decode("utf-8")
    except UnicodeDecodeError as error:
        return error.reason == "unexpected end of data" and error.start == 0
    return False


@given(token_lists(), stop_lists)
def test_every_token_is_released_at_most_once_and_in_order(tokens, stops):
    detokenizer = Detokenizer(StopStrings(stops))
    counts = [release.num_tokens for release in run(detokenizer, tokens)]
    assert counts == sorted(counts)
    assert all(count <= len(detokenizer.token_offsets) for count in counts)


@given(token_lists())
def test_a_token_is_released_with_the_text_it_belongs_to(tokens):
    detokenizer = Detokenizer()
    released = ""
    for count, token in enumerate(tokens, start=1):
        detokenizer.feed(token)
        release = detokenizer.release()
        released += release.text
        whole = b"".join(tokens[:count])
        if whole and token and _complete_part(whole) == whole.decode("utf-8", "replace"):
            assert release.num_tokens == count
        # Tokens of a character that is not complete wait for it.
        for offset in detokenizer.token_offsets[: release.num_tokens]:
            assert offset <= len(released)


@given(st.text(CHARACTERS, max_size=12), st.data())
def test_offsets_of_tokens_of_whole_text(text, data):
    raw = text.encode()
    cuts = sorted(set(data.draw(st.lists(st.integers(1, max(1, len(raw) - 1)), max_size=8))))
    edges = [0, *[cut for cut in cuts if cut < len(raw)], len(raw)]
    tokens = [raw[start:stop] for start, stop in itertools.pairwise(edges)]
    detokenizer = Detokenizer()
    run(detokenizer, tokens)
    # The character that holds the token's first byte.
    character_of_byte = [index for index, c in enumerate(text) for _ in c.encode()] + [len(text)]
    assert detokenizer.token_offsets == [character_of_byte[start] for start in edges[:-1]]


@pytest.mark.parametrize(
    ("tokens", "text", "offsets"),
    [
        ([b"\xe2\x80", b"\xa6", b"!"], "\u2026!", [0, 0, 1]),
        ([b"\xe2\x80", b"A"], "\ufffdA", [0, 1]),
        ([b"\xe2\x80", b"\xe2\x80", b"\xa6"], "\ufffd\u2026", [0, 1, 1]),
        ([b"\xe2", b"\xff", b"a"], "\ufffd\ufffda", [0, 1, 2]),
        ([b"a", b"\xe2\x80"], "a\ufffd", [0, 1]),
    ],
)
def test_broken_characters(tokens, text, offsets):
    detokenizer = Detokenizer()
    assert "".join(release.text for release in run(detokenizer, tokens)) == text
    assert detokenizer.token_offsets == offsets


def test_the_prompts_last_character_is_completed():
    detokenizer = Detokenizer(pending=b"\xe2\x80")
    assert "".join(release.text for release in run(detokenizer, [b"\xa6", b"x"])) == "\u2026x"
    assert detokenizer.token_offsets == [0, 1]


def test_stop_strings_before_min_tokens_are_text():
    detokenizer = Detokenizer(StopStrings(["b"]), min_tokens=3)
    releases = run(detokenizer, [b"ab", b"ab", b"ab", b"ab"])
    assert "".join(release.text for release in releases) == "ababa"
    assert len(detokenizer.token_offsets) == 3


def test_tokens_without_text_go_with_what_follows_or_with_nothing():
    detokenizer = Detokenizer()
    detokenizer.feed(b"a")
    assert detokenizer.release().num_tokens == 1
    detokenizer.feed(b"")
    assert detokenizer.release().num_tokens == 1
    detokenizer.feed(b"b")
    assert detokenizer.release().num_tokens == 3
    detokenizer.finish(num_textless_tokens=1)
    assert detokenizer.release().num_tokens == 3
    assert detokenizer.token_offsets == [0, 1, 1, 2]


def test_tokens_cut_by_a_stop_string_end_the_list():
    detokenizer = Detokenizer(StopStrings(["STOP"]))
    for token in (b"x", b"S", b"TO", b"Px"):
        detokenizer.feed(token)
    assert detokenizer.stop_match == "STOP"
    detokenizer.finish()
    assert detokenizer.release().text == "x"
    assert detokenizer.token_offsets == [0, 1, 1, 1]


@pytest.mark.parametrize(
    ("show", "tokens", "text", "offsets"),
    [
        (False, [], "", []),
        (True, [], "\ufffd", []),
        (False, [b"A"], "A", [0]),
        (True, [b"A"], "\ufffdA", [1]),
        (False, [b"\xe2\x80", b"\xa6"], "\u2026", [0, 0]),
        (True, [b"\xe2\x80", b"\xa6"], "\ufffd\u2026", [1, 1]),
        (False, [b"", b"\xff"], "\ufffd", [0, 0]),
    ],
)
def test_the_prompts_last_character_is_not_completed(show, tokens, text, offsets):
    detokenizer = Detokenizer(pending=b"\xe2\x80", show_pending=show)
    assert "".join(release.text for release in run(detokenizer, tokens)) == text
    assert detokenizer.token_offsets == offsets
