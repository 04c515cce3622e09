"""Looks: nothing about a row depends on the rows beside it."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from service.engine.growth import Look
from service.engine.looking import PreparedLook

VOCAB = 600
ODD = bytes([0, 1] * (VOCAB // 2))


def views(look, logits):
    return [
        (view.token_ids.tolist(), view.logprobs.tolist(), view.log_mass)
        for view in PreparedLook(look, VOCAB).views(logits)
    ]


@given(st.integers(0, 2**32 - 1), st.integers(2, 9), st.sampled_from([1.0, 0.7]))
@settings(max_examples=25)
def test_a_row_shows_the_same_bits_alone_and_in_company(seed, num_rows, temperature):
    logits = np.random.default_rng(seed).normal(0, 5, (num_rows, VOCAB)).astype(np.float32)
    look = Look(top_k=7, within=ODD, mass_of=ODD, temperature=temperature)
    assert views(look, logits) == [view for row in logits for view in views(look, row[None])]


@pytest.mark.parametrize(("members", "expected"), [(b"\0", -9999.0), (b"\1", 0.0)])
def test_the_sum_over_no_token_and_over_all(members, expected):
    logits = np.array([[0.0] + [-np.inf] * (VOCAB - 1), [0.0] * VOCAB], np.float32)
    shown = views(Look(mass_of=members * VOCAB), logits)
    assert [log_mass for _, _, log_mass in shown] == pytest.approx([expected] * 2)
    only_impossible = bytes([0]) + bytes([1]) * (VOCAB - 1)
    assert views(Look(mass_of=only_impossible), logits[:1])[0][2] == -9999.0
