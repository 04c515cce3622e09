"""AdamW, clipping and averaging against the formulas in plain NumPy; the schedule's shape."""

from itertools import pairwise

import numpy as np
import pytest
import tensorflow as tf

from training.optimizer import BETA_1, BETA_2, EPSILON, AdamW, Schedule


def plain_adamw(weights, gradients, *, weight_decay, clip_norm, average_decay, rates):
    """The same updates in float64: weights, averages and norms after all of ``gradients``."""
    names = list(weights)
    w = {name: weights[name].astype(np.float64) for name in names}
    m = {name: np.zeros_like(w[name]) for name in names}
    v = {name: np.zeros_like(w[name]) for name in names}
    average = {name: w[name].copy() for name in names}
    norms = []
    for step, (gradient, rate) in enumerate(zip(gradients, rates, strict=True)):
        norm = np.sqrt(sum((gradient[name].astype(np.float64) ** 2).sum() for name in names))
        norms.append(norm)
        decay = min(average_decay, (1 + step) / (10 + step))
        for name in names:
            g = gradient[name] * min(1.0, clip_norm / norm)
            m[name] = BETA_1 * m[name] + (1 - BETA_1) * g
            v[name] = BETA_2 * v[name] + (1 - BETA_2) * g**2
            corrected_m = m[name] / (1 - BETA_1 ** (step + 1))
            corrected_v = v[name] / (1 - BETA_2 ** (step + 1))
            if not name.endswith("bias"):
                w[name] = w[name] * (1 - rate * weight_decay)
            w[name] = w[name] - rate * corrected_m / (np.sqrt(corrected_v) + EPSILON)
            average[name] = decay * average[name] + (1 - decay) * w[name]
    return w, average, norms


def problem(seed=0, steps=6):
    random = np.random.default_rng(seed)
    shapes = {"layer_0/kernel": (3, 4), "layer_0/bias": (4,)}
    weights = {n: random.normal(size=s).astype(np.float32) for n, s in shapes.items()}
    gradients = [
        {n: random.normal(size=s).astype(np.float32) * 3 for n, s in shapes.items()}
        for _ in range(steps)
    ]
    return weights, gradients


OPTIONS = {"weight_decay": 0.1, "clip_norm": 1.5, "average_decay": 0.6}


def made(weights, **options):
    variables = [tf.Variable(value) for value in weights.values()]
    return AdamW(list(weights), variables, **{**OPTIONS, **options}), variables


def apply(optimizer, gradient, step, rate):
    return float(
        optimizer.apply(
            [tf.constant(value) for value in gradient.values()],
            tf.constant(float(step)),
            tf.constant(rate),
        )
    )


def test_updates_averages_and_norms_follow_the_formulas():
    weights, gradients = problem()
    rates = [0.05, 0.1, 0.1, 0.02, 0.01, 0.01]
    optimizer, variables = made(weights)
    norms = [
        apply(optimizer, gradient, step, rates[step]) for step, gradient in enumerate(gradients)
    ]
    expected, average, expected_norms = plain_adamw(weights, gradients, rates=rates, **OPTIONS)
    assert norms == pytest.approx(expected_norms, rel=1e-5)
    for name, variable in zip(weights, variables, strict=True):
        np.testing.assert_allclose(variable.numpy(), expected[name], rtol=1e-4, atol=1e-5)
        averaged = optimizer.averaged_weights()[name]
        np.testing.assert_allclose(averaged, average[name], rtol=1e-4, atol=1e-5)


def test_biases_are_not_decayed():
    weights, _ = problem()
    zeros = {name: np.zeros_like(value) for name, value in weights.items()}
    optimizer, variables = made(weights)
    apply(optimizer, zeros, 0, 0.1)
    kernel, bias = (variable.numpy() for variable in variables)
    np.testing.assert_allclose(kernel, weights["layer_0/kernel"] * (1 - 0.1 * 0.1), rtol=1e-6)
    assert np.array_equal(bias, weights["layer_0/bias"])


def test_small_gradients_are_not_clipped():
    weights, gradients = problem()
    small = {name: value * 1e-3 for name, value in gradients[0].items()}
    clipped, wide = made(weights), made(weights, clip_norm=1e9)
    for optimizer, _ in (clipped, wide):
        apply(optimizer, small, 0, 0.1)
    for one, other in zip(clipped[1], wide[1], strict=True):
        assert np.array_equal(one.numpy(), other.numpy())


def test_a_sparse_gradient_counts_as_its_dense_form():
    table = {"embedding": np.ones((4, 2), np.float32)}
    sparse = tf.IndexedSlices(tf.ones([2, 2]), tf.constant([1, 1]), tf.constant([4, 2]))
    one, other = made(table), made(table)
    one[0].apply([sparse], tf.constant(0.0), tf.constant(0.1))
    dense = np.zeros((4, 2), np.float32)
    dense[1] = 2.0
    other[0].apply([tf.constant(dense)], tf.constant(0.0), tf.constant(0.1))
    assert np.array_equal(one[1][0].numpy(), other[1][0].numpy())


def test_slots_taken_and_set_go_on_bit_for_bit():
    weights, gradients = problem()
    whole, whole_variables = made(weights)
    for step, gradient in enumerate(gradients):
        if step == 3:
            slots = whole.slots()
            middle = {n: v.numpy() for n, v in zip(weights, whole_variables, strict=True)}
        apply(whole, gradient, step, 0.1)
    resumed, resumed_variables = made(middle)
    resumed.assign_slots(slots)
    for step in range(3, len(gradients)):
        apply(resumed, gradients[step], step, 0.1)
    for one, other in zip(whole_variables, resumed_variables, strict=True):
        assert np.array_equal(one.numpy(), other.numpy())
    for name, value in whole.slots().items():
        assert np.array_equal(value, resumed.slots()[name])


def test_the_schedule_rises_then_falls_to_its_floor():
    schedule = Schedule(peak=1.0, warm_up=0.1, floor=0.05)
    rates = [schedule.at(share, step=1_000) for share in np.linspace(0, 1, 101)]
    assert 0.0 < rates[0] < 0.1
    assert rates[10] == pytest.approx(1.0)
    assert all(later > earlier for earlier, later in pairwise(rates[5:11]))
    assert all(later < earlier for earlier, later in pairwise(rates[10:]))
    assert rates[-1] == pytest.approx(0.05)


def test_a_short_budget_still_warms_up_over_enough_updates():
    schedule = Schedule(peak=1.0, warm_up_steps=50)
    rates = [schedule.at(share=0.04, step=step) for step in range(60)]
    assert rates[0] < rates[30] < rates[45]
    assert all(later >= earlier for earlier, later in pairwise(rates))
    assert rates[-1] == schedule.at(0.04, step=10_000) > 0.9
    assert schedule.at(0.11, step=3) == schedule.at(0.11, step=10_000)
