import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.state_cache import StateCache, is_cut

STATE_BYTES = 16


def ids(*values):
    return np.array(values, np.int32)


def state(value):
    return np.full(4, value, np.float32)


def test_the_longest_known_prefix_is_found():
    cache = StateCache(10 * STATE_BYTES)
    cache.keep(b"", ids(1, 2), state(2))
    cache.keep(b"", ids(1, 2, 3, 4), state(4))
    cache.keep(b"", ids(9, 9, 9, 9, 9), state(9))
    hit = cache.find(b"", ids(1, 2, 3, 4, 5))
    assert (hit.num_tokens, hit.state.tolist()) == (4, [4] * 4)
    assert cache.find(b"", ids(1, 2, 3)).num_tokens == 2
    assert cache.find(b"", ids(1, 2, 3, 4)).num_tokens == 4
    assert cache.find(b"", ids(2, 1)) is None
    assert cache.find(b"", ids()) is None


def test_the_same_tokens_from_elsewhere_are_another_prefix():
    cache = StateCache(10 * STATE_BYTES)
    cache.keep(b"somewhere", ids(1, 2), state(1))
    assert cache.find(b"", ids(1, 2)) is None
    assert cache.find(b"somewhere", ids(1, 2)).num_tokens == 2


def test_the_empty_prefix_is_not_worth_keeping():
    cache = StateCache(STATE_BYTES)
    cache.keep(b"", ids(), state(1))
    assert len(cache) == 0


def test_the_least_recently_used_goes_first():
    cache = StateCache(2 * STATE_BYTES)
    cache.keep(b"", ids(1), state(1))
    cache.keep(b"", ids(2), state(2))
    assert cache.find(b"", ids(1)) is not None
    cache.keep(b"", ids(3), state(3))
    assert cache.find(b"", ids(2)) is None
    assert cache.find(b"", ids(1)) is not None
    cache.keep(b"", ids(1), state(1))  # again: used, not doubled
    cache.keep(b"", ids(4), state(4))
    assert cache.find(b"", ids(3)) is None
    assert len(cache) == 2


@pytest.mark.parametrize("max_bytes", [0, STATE_BYTES - 1])
def test_a_cache_without_room_keeps_nothing(max_bytes):
    cache = StateCache(max_bytes)
    cache.keep(b"", ids(1), state(1))
    assert len(cache) == 0
    assert cache.find(b"", ids(1)) is None


def test_what_is_kept_is_a_copy():
    cache = StateCache(STATE_BYTES)
    kept = state(1)
    cache.keep(b"", ids(1), kept)
    kept[:] = 5
    assert cache.find(b"", ids(1)).state.tolist() == [1] * 4


@given(st.lists(st.lists(st.integers(0, 1), max_size=6), max_size=30), st.integers(1, 8))
@settings(max_examples=50)
def test_a_hit_is_always_a_true_prefix_and_memory_stays_bounded(prompts, room):
    cache = StateCache(room * STATE_BYTES)
    for prompt in prompts:
        hit = cache.find(b"", ids(*prompt))
        if hit is not None:
            known = prompt[: hit.num_tokens]
            assert hit.state.tolist() == state(hash_of(known)).tolist()
        cache.keep(b"", ids(*prompt), state(hash_of(prompt)))
        assert len(cache) <= room
        if prompt:
            assert cache.find(b"", ids(*prompt)).num_tokens == len(prompt)


def hash_of(prompt):
    return int("1" + "".join(map(str, prompt)))


def test_cuts_are_sparser_in_long_prompts():
    cuts = [n for n in range(4200) if is_cut(n)]
    assert cuts[:3] == [64, 128, 192]
    assert cuts[-4:] == [1024, 2048, 3072, 4096]
    assert sum(is_cut(n) for n in range(0, 1_000_001, 64)) < 150
