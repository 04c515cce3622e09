"""What engines of one model share."""

from hypothesis import given
from hypothesis import strategies as st

from service.engine_group import share_out
from service.settings import Settings

SHARED = ("max_running", "max_queue", "state_cache_mb")


@given(st.integers(1, 9), st.integers(0, 60), st.integers(0, 300), st.integers(0, 40))
def test_shares_add_up_and_are_even(engines, more_places, max_queue, state_cache_mb):
    settings = Settings(
        engines=engines,
        max_running=engines + more_places,
        max_queue=max_queue,
        state_cache_mb=state_cache_mb,
    )
    shares = share_out(settings)
    assert len(shares) == engines
    for name in SHARED:
        values = [getattr(share, name) for share in shares]
        assert sum(values) == getattr(settings, name)
        assert max(values) - min(values) <= 1
    assert min(share.max_running for share in shares) >= 1
    rooms = [share.max_running + share.max_queue for share in shares]
    assert max(rooms) - min(rooms) <= 1
    assert all(share.max_tokens == settings.max_tokens for share in shares)
