"""What is chosen for a budget, a corpus and a machine; and what is left as it was set."""

import math
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import ModelConfig
from model.errors import ConfigurationError
from training.plan import Plan
from training.planning import (
    HIDDEN_SIZES,
    MAX_WEIGHTS_PER_CORPUS_TOKEN,
    TOKENS_PER_WEIGHT,
    UPDATES_WANTED,
    make_plan,
    recurrent_weights,
)
from training.settings import GivenSettings

FLOPS_PER_SECOND = 4e10


def machine(slower: float = 1.0, half_precision_gain: float = 1.0):
    """A machine whose speed follows from the number of weights, and a count of its answers."""
    asked = []

    def measure(config: ModelConfig, batch_size: int, window: int, dtype: str) -> float:
        asked.append(dtype)
        gain = half_precision_gain if dtype == "bfloat16" else 1.0
        return FLOPS_PER_SECOND * gain / slower / (6.0 * config.num_weights())

    return measure, asked


def plan_for(given=None, *, measure=None, **changes) -> Plan:
    options = {
        "vocab_size": 2048,
        "corpus_tokens": 2_000_000,
        "base": None,
        "base_directory": None,
        "measure_speed": measure or machine()[0],
        "faster_recurrence": lambda *step: "loop",
        "processor_has_bfloat16": False,
        **changes,
    }
    return make_plan(GivenSettings({}, {}).over(given or {}), **options)


@given(
    st.floats(0.05, 600), st.integers(1_000, 10**8), st.sampled_from([66, 512, 8192]), st.booleans()
)
def test_every_plan_can_be_trained(minutes, corpus_tokens, vocab_size, half):
    plan = plan_for(
        {"minutes": minutes},
        corpus_tokens=corpus_tokens,
        vocab_size=vocab_size,
        processor_has_bfloat16=half,
    )
    assert plan.batch_size * plan.window + 1 <= corpus_tokens
    assert plan.config.hidden_size in HIDDEN_SIZES
    assert 0.0 <= plan.config.dropout <= 0.5
    assert 2e-3 <= plan.learning_rate <= 0.015
    assert 2_048 <= plan.validation_tokens <= 262_144
    if plan.config.hidden_size > HIDDEN_SIZES[0]:
        weights = recurrent_weights(plan.config)
        assert weights <= MAX_WEIGHTS_PER_CORPUS_TOKEN * corpus_tokens
        assert plan.tokens_per_second * minutes * 60 >= TOKENS_PER_WEIGHT * weights


def test_more_minutes_or_a_faster_machine_give_a_wider_network():
    widths = [plan_for({"minutes": m}).config.hidden_size for m in (0.5, 5, 50, 500)]
    assert widths == sorted(widths)
    assert widths[0] < widths[-1]
    slow = plan_for({"minutes": 20}, measure=machine(slower=30)[0])
    assert slow.config.hidden_size < plan_for({"minutes": 20}).config.hidden_size


def test_a_small_corpus_gets_a_narrower_network_more_dropout_and_fewer_streams():
    small = plan_for({"minutes": 60}, corpus_tokens=20_000)
    large = plan_for({"minutes": 60}, corpus_tokens=100_000_000)
    assert small.config.hidden_size < large.config.hidden_size
    assert small.config.dropout > large.config.dropout == 0.0
    assert small.batch_size < large.batch_size


def test_a_short_budget_makes_small_steps_so_that_there_are_enough():
    short, long = plan_for({"minutes": 1}), plan_for({"minutes": 300})
    assert short.batch_size * short.window < long.batch_size * long.window == 64 * 128
    updates = long.tokens_per_second * 300 * 60 / (64 * 128)
    assert updates >= UPDATES_WANTED


def test_what_is_set_is_kept():
    given = {
        "cell": "gru",
        "layers": 3,
        "hidden_size": 100,
        "embedding_size": 50,
        "tie_embeddings": False,
        "dropout": 0.3,
        "batch_size": 5,
        "window": 7,
        "learning_rate": 0.5,
        "weight_decay": 0.2,
        "clip_norm": 3.0,
        "weight_dropout": 0.4,
        "embedding_dropout": 0.1,
        "activation_penalty": 2.0,
        "temporal_penalty": 0.5,
        "late_window": 14,
        "patience": 4,
        "validation_tokens": 100,
        "seed": 9,
        "compute_dtype": "bfloat16",
        "minutes": 3.0,
    }
    plan = plan_for(given)
    assert plan.config == ModelConfig(
        cell="gru",
        vocab_size=2048,
        embedding_size=50,
        hidden_size=100,
        num_layers=3,
        tie_embeddings=False,
        dropout=0.3,
    )
    for key in set(given) & set(vars(plan)):
        assert getattr(plan, key) == given[key]


def test_a_budget_in_steps_asks_the_machine_nothing():
    measure, asked = machine()
    plan = plan_for({"steps": 100}, measure=measure, processor_has_bfloat16=True)
    assert asked == []
    assert (plan.steps, plan.compute_dtype, plan.tokens_per_second) == (100, "float32", None)
    assert plan == plan_for({"steps": 100}, measure=machine(slower=9)[0])


@pytest.mark.parametrize(
    ("has_it", "gain", "chosen"),
    [(True, 2.0, "bfloat16"), (True, 1.1, "float32"), (True, 0.5, "float32")],
)
def test_bfloat16_is_taken_only_where_it_is_clearly_faster(has_it, gain, chosen):
    plan = plan_for(measure=machine(half_precision_gain=gain)[0], processor_has_bfloat16=has_it)
    assert plan.compute_dtype == chosen


def test_bfloat16_is_not_even_tried_where_the_processor_has_none():
    measure, asked = machine(half_precision_gain=5.0)
    assert plan_for(measure=measure).compute_dtype == "float32"
    assert set(asked) == {"float32"}


def test_keras_layers_are_taken_where_they_are_faster_or_asked_for():
    def keras(config: ModelConfig, batch_size: int, window: int, dtype: str) -> str:
        asked.append((config.hidden_size, batch_size, window, dtype))
        return "keras"

    asked = []
    plan = plan_for(faster_recurrence=keras)
    assert plan.recurrence == "keras"
    assert "float32, Keras' layers" in plan.summary()
    assert asked == [(plan.config.hidden_size, plan.batch_size, plan.window, "float32")]
    asked.clear()
    assert plan_for({"recurrence": "loop"}, faster_recurrence=keras).recurrence == "loop"
    assert plan_for({"steps": 9}, faster_recurrence=keras).recurrence == "loop"
    assert asked == []
    assert plan_for({"recurrence": "keras", "steps": 9}).recurrence == "keras"


BASE = ModelConfig(vocab_size=2048, cell="gru", hidden_size=96, embedding_size=32, dropout=0.4)


def test_fine_tuning_keeps_the_sizes_and_learns_slowly(tmp_path):
    plan = plan_for({"minutes": 1}, base=BASE, base_directory=tmp_path)
    assert replace(plan.config, dropout=0.4) == BASE
    assert plan.initial_weights == str(tmp_path)
    afresh = plan_for({"minutes": 1, "hidden_size": 96, "cell": "gru"})
    assert plan.learning_rate < 0.3 * afresh.learning_rate
    assert plan_for({"dropout": 0.2}, base=BASE).config.dropout == 0.2


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cell", "lstm"),
        ("layers", 2),
        ("hidden_size", 95),
        ("embedding_size", 31),
        ("tie_embeddings", False),
    ],
)
def test_sizes_that_contradict_the_bundle_are_refused(key, value):
    name = "--" + key.replace("_", "-")
    with pytest.raises(ConfigurationError, match=f"{name} is {value}, but the bundle"):
        plan_for({key: value}, base=BASE)
    assert plan_for({key: getattr(BASE, key if key != "layers" else "num_layers")}, base=BASE)


def test_fine_tuning_can_widen_the_network(tmp_path):
    plan = plan_for({"hidden_size": 128, "embedding_size": 48}, base=BASE, base_directory=tmp_path)
    assert replace(plan.config, hidden_size=96, embedding_size=32, dropout=0.4) == BASE
    assert (plan.config.hidden_size, plan.config.embedding_size) == (128, 48)


def test_a_plan_survives_being_saved():
    plan = plan_for({"minutes": 2}, base=BASE, base_directory=Path("/somewhere"))
    assert Plan.from_dict(plan.to_dict()) == plan
    for damaged in ({}, {**plan.to_dict(), "unknown": 1}):
        with pytest.raises(ConfigurationError, match="plan of this run cannot be read"):
            Plan.from_dict(damaged)


def test_the_summary_says_what_will_be_trained():
    plan = plan_for({"steps": 1500, "hidden_size": 100, "cell": "gru", "layers": 2})
    summary = plan.summary()
    assert "gru 2 x 100" in summary
    assert "1,500 steps" in summary
    assert "2.5 minutes" in plan_for({"minutes": 2.5}).summary()


def test_recurrent_weights_are_those_of_the_layers():
    config = ModelConfig(vocab_size=50, cell="lstm", embedding_size=7, hidden_size=11, num_layers=2)
    one = 4 * 11 * (7 + 11 + 1)
    two = 4 * 11 * (11 + 11 + 1)
    assert recurrent_weights(config) == one + two
    assert math.isclose(config.num_weights() - one - two, 50 * 7 + 11 * 7 + 50)
