import math

import pytest

from model.errors import ConfigurationError
from model.sampling import SamplingParams


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("temperature", -0.1),
        ("temperature", 2.1),
        ("temperature", math.nan),
        ("temperature", True),
        ("temperature", "1"),
        ("top_k", -1),
        ("top_k", 1.5),
        ("top_k", True),
        ("top_p", 1.01),
        ("min_p", -1e-9),
        ("typical_p", math.inf),
        ("presence_penalty", 2.5),
        ("frequency_penalty", -2.5),
        ("repetition_penalty", 0.0),
        ("repetition_penalty", 11),
        ("seed", 2**63),
        ("seed", 1.0),
        ("candidate", -1),
    ],
)
def test_a_value_out_of_bounds_is_refused_by_name(key, value):
    with pytest.raises(ConfigurationError, match=f"^{key} is {value!r}; it must be a"):
        SamplingParams(**{key: value})


@pytest.mark.parametrize("bias", [{-1: 0.0}, {1: 100.5}, {1: math.nan}, {1: None}, {"1": 0.0}])
def test_a_logit_bias_out_of_bounds_is_refused(bias):
    with pytest.raises(ConfigurationError, match="logit_bias"):
        SamplingParams(logit_bias=bias)


def test_the_bounds_themselves_are_allowed():
    SamplingParams(
        temperature=2,
        top_k=0,
        top_p=0,
        min_p=1,
        typical_p=0.0,
        presence_penalty=-2,
        frequency_penalty=2,
        repetition_penalty=10,
        logit_bias={0: -100, 7: 100},
        seed=-(2**63),
    )


def test_what_the_defaults_say_about_themselves():
    plain = SamplingParams()
    assert not plain.is_greedy
    assert not plain.has_penalties
    assert SamplingParams(temperature=0).is_greedy
    assert SamplingParams(repetition_penalty=1.1).has_penalties
    assert SamplingParams(presence_penalty=0.1).has_penalties
    assert SamplingParams(frequency_penalty=-0.1).has_penalties
