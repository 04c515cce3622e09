"""Cutting a batch into the sizes at hand."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from model.runtime.row_plan import RowPlan

COSTS = st.dictionaries(st.integers(1, 9), st.integers(1, 1000), min_size=1, max_size=4)


def least_cost(costs: dict[int, int], rows: int) -> int:
    """By trying every way to take each size some number of times."""
    counts = (range(-(-rows // size) + 1) for size in costs)
    return min(
        sum(n * cost for n, cost in zip(taken, costs.values(), strict=True))
        for taken in itertools.product(*counts)
        if sum(n * size for n, size in zip(taken, costs, strict=True)) >= rows
    )


@given(COSTS, st.integers(0, 12))
def test_no_other_cut_costs_less(costs: dict[int, int], rows: int) -> None:
    pieces = RowPlan(costs).pieces(rows)
    # A measured cost above that of a larger batch, or of smaller ones, is taken for a mistake.
    as_larger = {size: min(c for s, c in costs.items() if s >= size) for size in costs}
    believed = {
        size: least_cost({s: c for s, c in as_larger.items() if s <= size}, size) for size in costs
    }
    assert sum(believed[size] for size in pieces) == least_cost(believed, rows)


@given(COSTS, st.integers(0, 300))
def test_pieces_hold_all_rows_and_only_the_last_has_room(costs: dict[int, int], rows: int) -> None:
    pieces = RowPlan(costs).pieces(rows)
    assert set(pieces) <= set(costs)
    assert pieces == sorted(pieces, reverse=True)
    assert sum(pieces) >= rows
    assert not pieces or sum(pieces[:-1]) < rows


def test_follows_the_processor() -> None:
    with_matrix_units = RowPlan({1: 100, 4: 110, 8: 120, 32: 150})
    assert with_matrix_units.pieces(3) == [4]
    assert with_matrix_units.pieces(12) == [32]
    assert with_matrix_units.pieces(33) == [32, 1]
    without = RowPlan({1: 100, 4: 390, 8: 780, 32: 3100})
    assert without.pieces(3) == [1, 1, 1]
    assert without.pieces(12) == [8, 4]
    assert without.pieces(33) == [32, 1]


def test_among_equals_takes_the_fewest() -> None:
    assert RowPlan({1: 10, 4: 40, 8: 80}).pieces(13) == [8, 4, 1]


def test_a_small_batch_measured_too_dear_is_still_used() -> None:
    plan = RowPlan({1: 400, 4: 307, 16: 500})
    assert plan.pieces(1) == [1]
    assert plan.pieces(3) == [4]
    assert plan.pieces(5) == [16]


def test_a_large_batch_measured_too_dear_is_still_used() -> None:
    assert RowPlan({8: 80, 64: 900}).pieces(64) == [64]
