import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from model.config import NUM_GATES, NUM_STATE_TENSORS, ModelConfig
from model.errors import ConfigurationError

configs = st.builds(
    ModelConfig,
    vocab_size=st.integers(2, 500),
    cell=st.sampled_from(["simple_rnn", "gru", "lstm"]),
    embedding_size=st.integers(1, 64),
    hidden_size=st.integers(1, 64),
    num_layers=st.integers(1, 5),
    tie_embeddings=st.booleans(),
    dropout=st.floats(0, 0.99),
)


@given(configs)
def test_survives_json(config):
    assert ModelConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config


@given(configs)
def test_sizes_agree_with_each_other(config):
    gates = NUM_GATES[config.cell] * config.hidden_size
    shapes = config.weight_shapes()
    biases = 2 if config.cell == "gru" else 1
    recurrent = sum(
        (config.input_size(layer) + config.hidden_size + biases) * gates
        for layer in range(config.num_layers)
    )
    ends = config.vocab_size * (config.embedding_size + 1)
    if not config.tie_embeddings:
        ends += config.hidden_size * config.vocab_size
    elif config.hidden_size != config.embedding_size:
        ends += config.hidden_size * config.embedding_size
    assert config.num_weights() == recurrent + ends
    assert config.has_projection == ("projection/kernel" in shapes)
    assert config.tie_embeddings == ("output/kernel" not in shapes)
    assert config.state_size == (
        config.num_layers * NUM_STATE_TENSORS[config.cell] * config.hidden_size
    )


def test_weight_names_and_shapes_of_a_deep_tied_gru():
    config = ModelConfig(
        vocab_size=7, cell="gru", embedding_size=3, hidden_size=4, num_layers=2, tie_embeddings=True
    )
    assert config.weight_shapes() == {
        "embedding": (7, 3),
        "layer_0/kernel": (3, 12),
        "layer_0/recurrent_kernel": (4, 12),
        "layer_0/bias": (2, 12),
        "layer_1/kernel": (4, 12),
        "layer_1/recurrent_kernel": (4, 12),
        "layer_1/bias": (2, 12),
        "projection/kernel": (4, 3),
        "output/bias": (7,),
    }


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("cell", "transformer"),
        ("cell", None),
        ("vocab_size", 1),
        ("vocab_size", 10.0),
        ("vocab_size", 1_000_001),
        ("embedding_size", 0),
        ("hidden_size", True),
        ("hidden_size", "512"),
        ("num_layers", 65),
        ("tie_embeddings", 1),
        ("dropout", 1.0),
        ("dropout", -0.1),
        ("dropout", float("nan")),
        ("dropout", "0.5"),
    ],
)
def test_a_bad_value_is_refused_by_name(key, value):
    with pytest.raises(ConfigurationError) as raised:
        ModelConfig.from_dict({"vocab_size": 100, key: value})
    assert key in str(raised.value)
    assert repr(value) in str(raised.value)


def test_unknown_and_missing_settings_are_refused():
    with pytest.raises(ConfigurationError, match="unknown model settings: heads, width"):
        ModelConfig.from_dict({"vocab_size": 5, "width": 3, "heads": 8})
    with pytest.raises(ConfigurationError, match="vocab_size is missing"):
        ModelConfig.from_dict({"cell": "gru"})
