import numpy as np
import pytest
import tensorflow as tf

from model.network.dropout import dropout_over_time


def test_keeps_or_drops_a_unit_of_a_sequence_for_all_its_time():
    dropped = dropout_over_time(tf.ones([6, 50, 40]), 0.25, tf.constant([1, 2]), site=0).numpy()
    np.testing.assert_array_equal(dropped, np.repeat(dropped[:1], 6, axis=0))
    np.testing.assert_allclose(np.unique(dropped), [0, 4 / 3])
    # 2,000 units: the share kept is within 5 standard deviations of 0.75.
    assert abs((dropped[0] > 0).mean() - 0.75) < 5 * np.sqrt(0.25 * 0.75 / 2000)
    assert len({row.tobytes() for row in dropped[0]}) == 50


def test_seed_and_site_decide_the_mask():
    def mask(seed, site):
        return dropout_over_time(tf.ones([1, 4, 50]), 0.5, tf.constant(seed), site=site).numpy()

    np.testing.assert_array_equal(mask([1, 2], 3), mask([1, 2], 3))
    assert np.any(mask([1, 2], 3) != mask([1, 2], 4))
    assert np.any(mask([1, 2], 3) != mask([1, 3], 3))
    assert np.any(mask([1, 2], 3) != mask([2, 2], 3))


def test_rate_zero_changes_nothing_and_needs_no_seed():
    sequence = tf.ones([2, 3, 4])
    assert dropout_over_time(sequence, 0.0, None, site=0) is sequence


def test_a_missing_seed_is_refused():
    with pytest.raises(ValueError, match="seed"):
        dropout_over_time(tf.ones([2, 3, 4]), 0.5, None, site=0)


def test_keeps_the_dtype():
    sequence = tf.ones([2, 3, 4], tf.bfloat16)
    assert dropout_over_time(sequence, 0.5, tf.constant([1, 2]), site=0).dtype == tf.bfloat16
