import numpy as np
import pytest
import tensorflow as tf

from model.network.dropout import dropout_over_time, dropped_weights, dropped_words


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


def test_weights_are_dropped_one_by_one():
    dropped = dropped_weights(tf.ones([40, 50]), 0.25, tf.constant([1, 2]), site=0).numpy()
    np.testing.assert_allclose(np.unique(dropped), [0, 4 / 3])
    assert abs((dropped > 0).mean() - 0.75) < 5 * np.sqrt(0.25 * 0.75 / 2000)
    assert len({row.tobytes() for row in dropped}) == 40


def test_a_word_is_dropped_wherever_it_stands():
    token_ids = tf.constant(np.random.default_rng(1).integers(0, 200, (30, 20)), tf.int32)
    dropped = dropped_words(
        tf.ones([30, 20, 5]), token_ids, 200, 0.25, tf.constant([1, 2]), site=0
    ).numpy()
    values_of = {int(word): set() for word in np.unique(token_ids)}
    for word, vector in zip(token_ids.numpy().ravel(), dropped.reshape(-1, 5), strict=True):
        values_of[int(word)] |= set(vector.tolist())
    assert all(len(values) == 1 for values in values_of.values())
    kept = [max(values) for values in values_of.values()]
    np.testing.assert_allclose(np.unique(kept), [0, 4 / 3])
    assert abs((np.array(kept) > 0).mean() - 0.75) < 5 * np.sqrt(0.25 * 0.75 / len(kept))


def test_rate_zero_changes_nothing_and_needs_no_seed():
    sequence = tf.ones([2, 3, 4])
    assert dropout_over_time(sequence, 0.0, None, site=0) is sequence
    assert dropped_weights(sequence, 0.0, None, site=0) is sequence
    ids = tf.zeros([2, 3], tf.int32)
    assert dropped_words(sequence, ids, 9, 0.0, None, site=0) is sequence


def test_a_missing_seed_is_refused():
    sequence, ids = tf.ones([2, 3, 4]), tf.zeros([2, 3], tf.int32)
    with pytest.raises(ValueError, match="seed"):
        dropout_over_time(sequence, 0.5, None, site=0)
    with pytest.raises(ValueError, match="seed"):
        dropped_weights(sequence, 0.5, None, site=0)
    with pytest.raises(ValueError, match="seed"):
        dropped_words(sequence, ids, 9, 0.5, None, site=0)


def test_keeps_the_dtype():
    sequence = tf.ones([2, 3, 4], tf.bfloat16)
    assert dropout_over_time(sequence, 0.5, tf.constant([1, 2]), site=0).dtype == tf.bfloat16
