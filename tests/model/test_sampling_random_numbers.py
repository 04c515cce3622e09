import numpy as np
import pytest
from scipy import stats

from model.sampling.random_numbers import stream_keys, uniforms


def numbers(seeds, candidates, positions):
    keys = np.array(
        [stream_keys(seed, j) for seed, j in zip(seeds, candidates, strict=True)], np.uint64
    )
    return uniforms(keys.T, np.array(positions, np.uint64))


def assert_uniform(values):
    # All inputs are fixed, so this cannot fail by chance on one machine and not on another.
    assert stats.kstest(values, "uniform").pvalue > 1e-4
    assert (values >= 0).all()
    assert (values < 1).all()


def test_the_same_numbers_on_every_machine_and_for_ever():
    # Stored answers would change with these; so would every test of a seeded completion.
    drawn = numbers([0, 0, 1, -1, 2**63 - 1], [0, 1, 0, 0, 7], [0, 0, 5, 1, 10**9])
    expected = [
        0.21208202897361705,
        0.8861596611536469,
        0.2021251013735862,
        0.27175502964092824,
        0.41514993058608873,
    ]
    assert drawn.tolist() == expected


@pytest.mark.parametrize("position", [0, 1, 2, 3, 63, 64, 4095])
def test_uniform_over_seeds_at_any_position(position):
    count = 4000
    assert_uniform(numbers(range(count), [0] * count, [position] * count))


def test_uniform_along_a_sequence_and_over_candidates():
    count = 4000
    for seed in (0, 1, -5, 2**62):
        assert_uniform(numbers([seed] * count, [0] * count, range(count)))
        assert_uniform(numbers([seed] * count, range(count), [3] * count))


def test_neighbours_in_seed_candidate_and_position_are_unrelated():
    count = 4000
    base = numbers(range(count), [0] * count, [0] * count)
    for other in (
        numbers(range(1, count + 1), [0] * count, [0] * count),
        numbers(range(count), [1] * count, [0] * count),
        numbers(range(count), [0] * count, [1] * count),
    ):
        assert abs(stats.pearsonr(base, other).statistic) < 0.06


def test_a_number_does_not_depend_on_its_batch():
    alone = [numbers([s], [s % 3], [s * 7])[0] for s in range(20)]
    assert numbers(range(20), [s % 3 for s in range(20)], [s * 7 for s in range(20)]).tolist() == (
        alone
    )
