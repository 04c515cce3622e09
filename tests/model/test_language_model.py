"""The whole network against the NumPy oracle, automatic differentiation and itself."""

import numpy as np
import pytest
import tensorflow as tf

from model.config import ModelConfig
from model.network.language_model import LanguageModel
from model.runtime.numpy_runtime import NumpyRuntime

VOCAB, TIME, BATCH = 13, 5, 3


def make_config(cell="lstm", **settings):
    sizes = {"vocab_size": VOCAB, "embedding_size": 6, "hidden_size": 8}
    return ModelConfig(**{**sizes, **settings}, cell=cell)


def make_model(config, **settings):
    """A model with weights large enough that every part of it matters."""
    model = LanguageModel(config, **settings)
    random = np.random.default_rng(9)
    model.assign_weights(
        {
            name: random.normal(0, 0.5, shape).astype(np.float32)
            for name, shape in config.weight_shapes().items()
        }
    )
    return model


def ids(seed, *shape):
    return np.random.default_rng(seed).integers(0, VOCAB, shape, dtype=np.int32)


def random_state(config, rows=BATCH):
    state = np.random.default_rng(2).normal(0, 0.5, (rows, config.state_size))
    return state.astype(np.float32)


def close(actual, expected, tolerance=1e-5):
    np.testing.assert_allclose(actual, expected, rtol=tolerance, atol=tolerance)


SHAPES = [
    {"tie_embeddings": True, "embedding_size": 8},
    {"tie_embeddings": True, "num_layers": 3},
    {"tie_embeddings": False, "num_layers": 2},
]


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
@pytest.mark.parametrize("settings", SHAPES, ids=["tied", "projected-deep", "untied-stacked"])
def test_equals_the_numpy_oracle(cell, settings):
    config = make_config(cell, **settings)
    model = make_model(config)
    oracle = NumpyRuntime(config, model.weights_by_name())
    token_ids, state = ids(1, BATCH, TIME), random_state(config)
    logits, after = model(token_ids, state)
    assert logits.dtype == after.dtype == tf.float32
    for time in range(TIME):
        expected, state = oracle.step(token_ids[:, time], state)
        close(logits[:, time], expected)
    close(after, state)


def test_starts_from_the_initial_weights_of_its_seed():
    config = make_config()
    first, again, other = (LanguageModel(config, initial_seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(
        first.weights_by_name()["layer_0/kernel"], again.weights_by_name()["layer_0/kernel"]
    )
    assert np.any(first.weights_by_name()["embedding"] != other.weights_by_name()["embedding"])


def test_carried_state_equals_one_long_pass():
    model = make_model(make_config(num_layers=3))
    token_ids, state = ids(1, BATCH, 7), random_state(model.config)
    logits, after = model(token_ids, state)
    first, between = model(token_ids[:, :4], state)
    second, end = model(token_ids[:, 4:], between)
    close(tf.concat([first, second], axis=1), logits)
    close(end, after)


def test_reset_equals_separate_sequences():
    model = make_model(make_config("gru", num_layers=2))
    token_ids, state = ids(1, BATCH, TIME), random_state(model.config)
    reset = np.zeros((BATCH, TIME), bool)
    reset[1, 2] = reset[2, 0] = True
    logits, after = model(token_ids, state, reset=reset)
    fresh, fresh_after = model(token_ids[1:2, 2:], model.initial_state(1))
    whole, whole_after = model(token_ids[2:], model.initial_state(1))
    untouched, _ = model(token_ids, state)
    close(logits[1:2, 2:], fresh)
    close(after[1:2], fresh_after)
    close(logits[2:], whole)
    close(after[2:], whole_after)
    close(logits[1, :2], untouched[1, :2])
    close(logits[0], untouched[0])


def test_no_time_and_one_row():
    model = make_model(make_config())
    state = random_state(model.config, rows=1)
    logits, after = model(ids(1, 1, 0), state)
    assert logits.shape == (1, 0, VOCAB)
    np.testing.assert_array_equal(after, state)
    nats, after = model.total_loss(ids(1, 1, 0), ids(1, 1, 0), state, training=True)
    assert float(nats) == 0.0
    np.testing.assert_array_equal(after, state)
    assert model.initial_state(2).shape == (2, 16)


def test_hidden_and_output_logits_make_the_logits():
    model = make_model(make_config())
    token_ids, state = ids(1, BATCH, TIME), random_state(model.config)
    features, after = model.hidden(token_ids, state)
    assert features.shape == (BATCH, TIME, 6)
    logits, expected_after = model(token_ids, state)
    close(model.output_logits(features), logits)
    close(model.output_logits(features[:, -1]), logits[:, -1])
    np.testing.assert_array_equal(after, expected_after)


@pytest.mark.parametrize("settings", SHAPES, ids=["tied", "projected-deep", "untied-stacked"])
@pytest.mark.parametrize("training", [True, False])
def test_total_loss_and_its_gradients_are_those_of_the_logits(settings, training):
    model = make_model(make_config("gru", **settings))
    token_ids, targets, state = ids(1, BATCH, TIME), ids(2, BATCH, TIME), random_state(model.config)
    mask = np.random.default_rng(4).random((BATCH, TIME)).astype(np.float32)
    reset = np.random.default_rng(5).random((BATCH, TIME)) < 0.2
    variables = [variable.value for variable in model.trainable_variables]
    with tf.GradientTape() as tape:
        nats, after = model.total_loss(
            token_ids, targets, state, mask=mask, reset=reset, training=training
        )
        loss = 0.5 * nats + tf.reduce_sum(after)
    gradients = tape.gradient(loss, variables)
    with tf.GradientTape() as tape:
        logits, expected_after = model(token_ids, state, reset=reset)
        per_token = tf.nn.sparse_softmax_cross_entropy_with_logits(targets, logits)
        expected = tf.reduce_sum(per_token * mask)
        loss = 0.5 * expected + tf.reduce_sum(expected_after)
    close(nats, expected)
    close(after, expected_after)
    for actual, correct in zip(gradients, tape.gradient(loss, variables), strict=True):
        close(actual, correct)


def test_a_boolean_mask_counts_what_it_marks():
    model = make_model(make_config())
    token_ids, targets, state = ids(1, BATCH, TIME), ids(2, BATCH, TIME), random_state(model.config)
    mask = np.random.default_rng(4).random((BATCH, TIME)) < 0.5
    parts = [
        float(model.total_loss(token_ids, targets, state, mask=part)[0]) for part in (mask, ~mask)
    ]
    close(sum(parts), model.total_loss(token_ids, targets, state)[0])


def test_a_graph_of_unknown_sizes_gives_the_same_loss():
    model = make_model(make_config(num_layers=2, dropout=0.3))

    @tf.function(
        autograph=False,
        input_signature=[
            tf.TensorSpec([None, None], tf.int32),
            tf.TensorSpec([None, model.config.state_size]),
            tf.TensorSpec([None, None], tf.bool),
            tf.TensorSpec([2], tf.int32),
        ],
    )
    def graph(token_ids, state, reset, seed):
        return model.total_loss(token_ids, token_ids, state, reset=reset, training=True, seed=seed)

    for time in (TIME, 1, 0):
        arguments = ids(1, BATCH, time), random_state(model.config), np.zeros((BATCH, time), bool)
        seed = tf.constant([3, time])
        for actual, expected in zip(
            graph(*arguments, seed), graph.python_function(*arguments, seed), strict=True
        ):
            close(actual, expected)


def test_dropout_only_in_training_and_by_seed():
    model = make_model(make_config(num_layers=2, dropout=0.5))
    token_ids, state = ids(1, BATCH, TIME), random_state(model.config)

    def logits(**settings):
        return model(token_ids, state, **settings)[0].numpy()

    plain = logits()
    np.testing.assert_array_equal(logits(seed=tf.constant([1, 2])), plain)
    dropped = logits(training=True, seed=tf.constant([1, 2]))
    assert np.abs(dropped - plain).max() > 0.1
    np.testing.assert_array_equal(logits(training=True, seed=tf.constant([1, 2])), dropped)
    assert np.abs(logits(training=True, seed=tf.constant([1, 3])) - dropped).max() > 0.1
    with pytest.raises(ValueError, match="seed"):
        model.hidden(token_ids, state, training=True)


def test_dropout_is_a_thinner_network_the_same_at_every_step():
    """Features with dropout on the last output are 0 or doubled, alike for all time steps."""
    model = make_model(make_config(tie_embeddings=False, dropout=0.5))
    features, _ = model.hidden(
        ids(1, BATCH, TIME), random_state(model.config), training=True, seed=tf.constant([1, 2])
    )
    kept = features.numpy() != 0
    assert kept.any()
    assert not kept.all()
    np.testing.assert_array_equal(kept, np.repeat(kept[:, :1], TIME, axis=1))


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
def test_dropped_recurrent_weights_are_a_network_without_them(cell):
    """What has no gradient was dropped; a network without it computes the same."""
    config = make_config(cell, num_layers=2)
    model = make_model(config, weight_dropout=0.5)
    token_ids, state, seed = ids(1, BATCH, TIME), random_state(config), tf.constant([1, 2])
    kernels = [layer.recurrent_kernel for layer in model.recurrent_layers]
    with tf.GradientTape() as tape:
        nats, _ = model.total_loss(token_ids, token_ids, state, training=True, seed=seed)
    masks = [
        gradient.numpy() != 0
        for gradient in tape.gradient(nats, [kernel.value for kernel in kernels])
    ]
    assert all(0.2 < mask.mean() < 0.8 for mask in masks)
    assert (masks[0] != masks[1]).any()
    weights = model.weights_by_name()
    for layer, mask in enumerate(masks):
        weights[f"layer_{layer}/recurrent_kernel"] *= 2.0 * mask
    thinner = make_model(config)
    thinner.assign_weights(weights)
    close(thinner.total_loss(token_ids, token_ids, state)[0], nats)
    close(
        model.total_loss(token_ids, token_ids, state)[0],
        make_model(config).total_loss(token_ids, token_ids, state)[0],
    )


def test_dropped_words_are_read_as_zeros():
    config = make_config(tie_embeddings=False)
    model = make_model(config, embedding_dropout=0.5)
    token_ids, state, seed = ids(1, 40, TIME), random_state(config, 40), tf.constant([1, 2])
    with tf.GradientTape() as tape:
        nats, _ = model.total_loss(token_ids, token_ids, state, training=True, seed=seed)
    embedding = model.named_variables()["embedding"].value
    read = np.asarray(tf.convert_to_tensor(tape.gradient(nats, embedding))).any(axis=1)
    assert 0 < read.sum() < VOCAB
    weights = model.weights_by_name()
    weights["embedding"] *= 2.0 * read[:, None]
    without = make_model(config)
    without.assign_weights(weights)
    close(without.total_loss(token_ids, token_ids, state)[0], nats)


@pytest.mark.parametrize("cell", ["simple_rnn", "gru", "lstm"])
@pytest.mark.parametrize("dropout", [0.0, 0.5])
def test_penalties_are_in_the_gradients_not_in_the_loss(cell, dropout):
    """The gradients are those of the loss and the penalty by its formula, worked out outside."""
    config = make_config(cell, num_layers=2, tie_embeddings=False, dropout=dropout)
    plain, size, change = (
        make_model(config, **weights)
        for weights in ({}, {"activation_penalty": 0.7}, {"temporal_penalty": 0.4})
    )
    token_ids, targets, state = ids(1, BATCH, TIME), ids(2, BATCH, TIME), random_state(config)
    how = {"training": True, "seed": tf.constant([1, 2])}
    variables = [variable.value for variable in plain.trainable_variables]
    with tf.GradientTape(persistent=True) as tape:
        nats, _ = plain.total_loss(token_ids, targets, state, **how)
        outputs, _ = plain.hidden(token_ids, state, **how)  # dropped, [batch, time, hidden]
        squares = 0.7 * tf.reduce_sum(outputs**2) / config.hidden_size
        changes = 0.4 * tf.reduce_sum((outputs[:, 1:] - outputs[:, :-1]) ** 2) / config.hidden_size
    expected = {
        penalty: [
            tf.convert_to_tensor(one) + tf.convert_to_tensor(other)
            for one, other in zip(
                tape.gradient(nats, variables),
                tape.gradient(value, variables, unconnected_gradients="zero"),
                strict=True,
            )
        ]
        for penalty, value in (("size", squares), ("change", changes))
    }
    for name, model in (("size", size), ("change", change)):
        if name == "change" and dropout:
            continue  # the paper takes it before dropout
        with tf.GradientTape() as tape:
            penalised, _ = model.total_loss(token_ids, targets, state, **how)
        assert float(penalised) == pytest.approx(float(nats))
        found = tape.gradient(penalised, [v.value for v in model.trainable_variables])
        for one, other in zip(found, expected[name], strict=True):
            close(tf.convert_to_tensor(one), other)
        close(
            model.total_loss(token_ids, targets, state)[0],
            plain.total_loss(token_ids, targets, state)[0],
        )


def test_bfloat16_follows_float32():
    """Logits, state and gradients within 3 % of their length, the loss within 1 %."""
    config = make_config(num_layers=2, hidden_size=16)
    token_ids, targets, state = ids(1, BATCH, TIME), ids(2, BATCH, TIME), random_state(config)
    results = []
    for model in (make_model(config, compute_dtype="bfloat16"), make_model(config)):
        logits, after = model(token_ids, state)
        with tf.GradientTape() as tape:
            nats, _ = model.total_loss(token_ids, targets, state, training=True)
        gradients = tape.gradient(nats, [v.value for v in model.trainable_variables])
        results.append([logits, after, nats, *gradients])
    for actual, correct in zip(*results, strict=True):
        assert actual.dtype == tf.float32
        assert np.linalg.norm(actual - correct) < 0.03 * np.linalg.norm(correct)
    close(results[0][2], results[1][2], 0.01)


def test_learns_a_sequence_by_heart():
    model = LanguageModel(make_config("lstm", hidden_size=24), initial_seed=3)
    text = ids(6, 2, 17)
    variables = model.trainable_variables
    optimizer = tf.keras.optimizers.Adam(0.05)

    @tf.function(autograph=False)
    def train_step():
        with tf.GradientTape() as tape:
            nats, _ = model.total_loss(
                text[:, :-1], text[:, 1:], model.initial_state(2), training=True
            )
        optimizer.apply_gradients(zip(tape.gradient(nats, variables), variables, strict=True))
        return nats / 32

    first = float(train_step())
    for _ in range(40):
        last = float(train_step())
    assert first > 2.4
    assert last < 0.2


def test_variables_have_canonical_names_in_order():
    model = make_model(make_config("gru", num_layers=2))
    named = model.named_variables()
    assert {name: tuple(v.shape) for name, v in named.items()} == model.config.weight_shapes()
    assert list(named) == list(model.config.weight_shapes())
    assert {id(variable) for variable in named.values()} == {
        id(variable) for variable in model.trainable_variables
    }
    assert model.count_params() == model.config.num_weights()


def test_weights_out_and_in_again():
    config = make_config("gru", num_layers=2)
    model, other = make_model(config), LanguageModel(config)
    other.assign_weights(model.weights_by_name())
    for name, values in other.weights_by_name().items():
        np.testing.assert_array_equal(values, model.weights_by_name()[name])
    values = model.weights_by_name()["embedding"]
    values[:] = 0
    assert model.weights_by_name()["embedding"].any()


def test_weights_that_do_not_fit_are_refused_and_change_nothing():
    model = make_model(make_config())
    before = model.weights_by_name()
    weights = {name: values + 1 for name, values in before.items()}
    bias = weights.pop("output/bias")
    with pytest.raises(ValueError, match=r"missing \['output/bias'\]"):
        model.assign_weights(weights)
    with pytest.raises(ValueError, match=r"unknown \['extra'\]"):
        model.assign_weights({**weights, "output/bias": bias, "extra": bias})
    with pytest.raises(ValueError, match="output/bias has shape"):
        model.assign_weights({**weights, "output/bias": bias[1:]})
    for name, values in model.weights_by_name().items():
        np.testing.assert_array_equal(values, before[name])
