"""The compiled passes draw the tokens that NumPy draws."""

import numpy as np
import pytest
from compiled_kernel import compiled_kernel

from model.kernel.library import ROW, UNDECIDED, Drawer
from model.sampling import (
    NO_TOKEN,
    CompiledSamplingPlan,
    SamplingParams,
    SamplingPlan,
    TokenCounts,
    plan_sampling,
)


@pytest.fixture(scope="module")
def kernel():
    return compiled_kernel()


@pytest.mark.parametrize("vocab_size", [65, 128, 8000, 8192])
@pytest.mark.parametrize("temperature", [1.0, 0.7])
@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"top_p": 0.95},
        {"top_p": 0.5},
        {"top_k": 40},
        {"top_k": 40, "top_p": 0.9, "min_p": 0.1},
        {"min_p": 0.02},
        {"min_p": 1.0},
    ],
    ids=str,
)
def test_the_same_tokens(kernel, vocab_size, temperature, filters):
    random = np.random.default_rng(7)
    params = [
        SamplingParams(**filters, temperature=temperature, candidate=row) for row in range(100)
    ]
    by_numpy, compiled = SamplingPlan(params, [3]), plan_sampling(params, [3], kernel)
    assert isinstance(compiled, CompiledSamplingPlan)
    differing = 0
    for position in range(20):
        logits = random.normal(0, 3, (len(params), vocab_size)).astype(np.float32)
        logits[:, 3] = 20.0
        tokens = [plan.sample(logits, [position] * 100) for plan in (by_numpy, compiled)]
        assert (logits[:, 3] == 20.0).all()
        differing += np.count_nonzero(tokens[0] != tokens[1])
    # Of 2,000 draws: next to the border of two tokens, rounding decides.
    assert differing <= 2


@pytest.fixture
def seen(monkeypatch):
    """What the kernel said to each batch."""
    answers = []
    draw = Drawer.draw

    def listen(*arguments):
        answers.append(draw(*arguments).tolist())
        return np.array(answers[-1], np.int32)

    monkeypatch.setattr(Drawer, "draw", listen)
    return answers


@pytest.mark.parametrize(
    "filters",
    [
        {"top_k": 129},
        {"top_k": 5, "typical_p": 0.9},
        {"typical_p": 0.9},
        {"top_p": 0.4},
        {"top_p": 0.9, "min_p": 0.1},
    ],
    ids=str,
)
def test_what_it_cannot_do_it_leaves_to_numpy(kernel, seen, filters):
    params = [SamplingParams(**filters), SamplingParams(seed=2)]
    logits = np.random.default_rng(0).normal(0, 2, (2, 300)).astype(np.float32)
    tokens = plan_sampling(params, (), kernel).sample(logits, [0, 0])
    assert tokens.tolist() == SamplingPlan(params).sample(logits, [0, 0]).tolist()
    assert seen == [[UNDECIDED, tokens[1]]]


@pytest.mark.parametrize(
    "filters",
    [
        {"logit_bias": {1: 2.0, 5: -100}},
        {"logit_bias": {1: 100, 5: 100}},
        {"presence_penalty": 0.5, "repetition_penalty": 1.3, "top_p": 0.9},
        {"frequency_penalty": 2.0, "temperature": 0},
    ],
    ids=str,
)
def test_it_draws_from_edited_logits_and_leaves_them_as_they_were(kernel, seen, filters):
    params = [SamplingParams(**filters), SamplingParams(seed=2)]
    counts = TokenCounts(300, [1, 2, 3])
    for token_id in (5, 5, 7):
        counts.add(token_id)
    plans = plan_sampling(params, [4], kernel), SamplingPlan(params, [4])
    for position in range(50):
        logits = np.random.default_rng(position).normal(0, 2, (2, 300)).astype(np.float32)
        before = logits.copy()
        banned = {1: [8, int(logits[1].argmax())]} if position % 2 else {}
        tokens = [plan.sample(logits, [position] * 2, {0: counts}, banned) for plan in plans]
        assert (logits == before).all()
        assert tokens[0].tolist() == tokens[1].tolist() == seen[-1]


def test_a_row_with_more_ties_than_it_has_room_for(kernel, seen):
    params = [SamplingParams(top_k=20, candidate=row) for row in range(40)]
    logits = np.zeros((40, 3000), np.float32)
    logits[:, [5, 70, 2999]] = 1.0
    tokens = plan_sampling(params, (), kernel).sample(logits, [0] * 40)
    assert seen == [[UNDECIDED] * 40]
    assert set(tokens.tolist()) <= {*range(18), 70, 2999}


def test_ties_at_the_border_of_top_k_go_to_the_lowest_ids(kernel, seen):
    params = [SamplingParams(top_k=20, candidate=row) for row in range(400)]
    logits = np.full((400, 3000), -5, np.float32)
    logits[:, 100:500] = 0.0
    logits[:, [5, 70, 2999]] = 1.0
    tokens = plan_sampling(params, (), kernel).sample(logits, [0] * 400)
    assert seen == [tokens.tolist()]
    assert set(tokens.tolist()) == {5, 70, 2999, *range(100, 117)}


def test_rows_that_do_not_lie_side_by_side(kernel):
    logits = np.random.default_rng(0).normal(0, 1, (6, 400)).astype(np.float32)
    plan = plan_sampling([SamplingParams(candidate=row) for row in range(3)], (), kernel)
    expected = plan.sample(logits[::2].copy(), [0] * 3)
    assert (plan.sample(logits[::2], [0] * 3) == expected).all()


@pytest.mark.parametrize(
    "filters", [{"top_p": 0.9}, {"top_k": 3}, {"min_p": 0.1}, {"temperature": 0}], ids=str
)
@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_broken_row_beside_others(kernel, filters, bad):
    params = [SamplingParams(), SamplingParams(**filters), SamplingParams(seed=3)]
    logits = np.random.default_rng(4).normal(0, 1, (3, 400)).astype(np.float32)
    plan = plan_sampling(params, (), kernel)
    expected = plan.sample(logits, [0] * 3)
    logits[1, 399] = bad
    assert plan.sample(logits, [0] * 3).tolist() == [expected[0], NO_TOKEN, expected[2]]
    logits[1] = -np.inf
    assert plan.sample(logits, [0] * 3).tolist() == [expected[0], NO_TOKEN, expected[2]]


def test_where_it_brings_nothing_numpy_draws(kernel):
    assert isinstance(plan_sampling([SamplingParams(temperature=0)], (), kernel), SamplingPlan)
    assert isinstance(plan_sampling([SamplingParams()], range(17), kernel), SamplingPlan)
    assert isinstance(plan_sampling([SamplingParams()]), SamplingPlan)


def test_what_is_made_ready_for_one_shape_refuses_another(kernel):
    drawer = kernel.drawer(np.zeros(2, ROW), np.empty(0, np.int64), 100)
    with pytest.raises(ValueError, match=r"\(3, 100\)"):
        drawer.draw(np.zeros((3, 100), np.float32), np.zeros(3))
