"""Sampling against its plain definition: everything sorted, in float64, nothing clever.

All of it twice: by NumPy, and by the compiled passes over the vocabulary if there is a compiler.
"""

import math
from dataclasses import replace

import numpy as np
import pytest
from compiled_kernel import compiled_kernel
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from scipy import special, stats

from model import sampling
from model.sampling import (
    NO_TOKEN,
    SamplingParams,
    TokenCounts,
    plan_sampling,
)

#: ``kernel``: what draws in place of NumPy, if anything.
DRAWING = {}


@pytest.fixture(scope="module", autouse=True, params=["numpy", "compiled"])
def _who_draws(request):
    DRAWING["kernel"] = compiled_kernel() if request.param == "compiled" else None


def plan_of(params, never=()):
    return plan_sampling(params, never, **DRAWING)


def sample(logits, params, position, **options):
    return sampling.sample(logits, params, position, **DRAWING, **options)


def sample_batch(logits, params, positions, **options):
    return sampling.sample_batch(logits, params, positions, **DRAWING, **options)


def plain_distribution(logits, params, prompt=(), generated=(), banned=()):
    """Probabilities [vocab] by the definition in ``SamplingParams``, step by step."""
    values = logits.astype(np.float64).copy()
    for token_id, bias in params.logit_bias.items():
        values[token_id] += bias
    for token_id in {*prompt, *generated}:
        value = values[token_id]
        penalty = params.repetition_penalty
        values[token_id] = value / penalty if value > 0 else value * penalty
    for token_id in set(generated):
        values[token_id] -= params.frequency_penalty * generated.count(token_id)
        values[token_id] -= params.presence_penalty
    forced = [i for i, bias in params.logit_bias.items() if bias >= 100 and i not in banned]
    forbidden = [i for i, bias in params.logit_bias.items() if bias <= -100]
    if forced:
        forbidden = [i for i in range(len(values)) if i not in forced]
    values[[*banned, *forbidden]] = -math.inf
    if params.temperature == 0:
        return np.eye(len(values))[int(np.argmax(values))]
    values /= params.temperature
    kept = np.flatnonzero(np.isfinite(values))

    def probabilities():
        weights = np.exp(values[kept] - values[kept].max())
        return weights / weights.sum()

    def nucleus(keys, mass):
        order = np.lexsort((kept, keys))
        cumulative = np.cumsum(probabilities()[order])
        return kept[order[: int((cumulative < mass).sum()) + 1]]

    if params.top_k:
        kept = kept[np.lexsort((kept, -values[kept]))[: params.top_k]]
    if params.typical_p < 1:
        surprises = special.logsumexp(values[kept]) - values[kept]
        entropy = (probabilities() * surprises).sum()
        kept = nucleus(np.abs(surprises - entropy), params.typical_p)
    if params.top_p < 1:
        kept = nucleus(-values[kept], params.top_p)
    if params.min_p > 0:
        kept = kept[probabilities() >= params.min_p * probabilities().max()]
    result = np.zeros(len(values))
    result[kept] = probabilities()
    return result


def assert_within_chance(drawn, expected):
    """``drawn`` [vocab] counts are binomial: seven standard deviations never happen by chance."""
    count = drawn.sum()
    slack = 7 * np.sqrt(count * expected * (1 - expected)) + 4
    assert (np.abs(drawn - count * expected) <= slack).all()


def chi_squared_pvalue(drawn, theory):
    """Of ``drawn`` [vocab] counts where ``theory`` are expected; rare tokens count as one.

    1 where that leaves a single kind.
    """
    often = theory >= 5
    observed = np.append(drawn[often], drawn[~often].sum())
    theory = np.append(theory[often], theory[~often].sum())
    observed, theory = observed[theory > 0], theory[theory > 0]
    if len(theory) == 1:
        return 1.0
    return stats.chisquare(observed, theory * observed.sum() / theory.sum()).pvalue


def draw_many(logits, params, count, **edits):
    """``count`` tokens from one row: what candidates 0, 1, ... draw first."""
    rows = [replace(params, candidate=candidate) for candidate in range(count)]
    repeated = np.repeat(logits[None], count, axis=0)
    spread = {key: dict.fromkeys(range(count), value) for key, value in edits.items()}
    return sample_batch(repeated, rows, [0] * count, **spread)


probability = st.one_of(st.sampled_from([0.0, 0.5, 0.9, 0.95, 1.0]), st.floats(0, 1))
filters = st.fixed_dictionaries(
    {
        "temperature": st.one_of(st.sampled_from([1.0, 0.7]), st.floats(0.05, 2.0)),
        "top_k": st.one_of(st.just(0), st.integers(1, 40), st.integers(120, 700)),
        "top_p": probability,
        "min_p": st.one_of(st.just(0.0), st.floats(0, 1)),
        "typical_p": st.one_of(st.just(1.0), probability),
    }
)


@st.composite
def logits_rows(draw):
    """Rows of all shapes: flat, peaked, with many ties, of sizes around the groups' width."""
    size = draw(st.sampled_from([2, 3, 17, 127, 128, 129, 500, 3000]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    row = random.normal(0, draw(st.sampled_from([0.0, 0.3, 2.0, 6.0])), size)
    if draw(st.booleans()):
        row = np.round(row)
    return row.astype(np.float32)


def is_on_an_edge(logits, params):
    """Whether the least rounding decides what a filter keeps, so that float32 may differ."""
    support = plain_distribution(logits, SamplingParams(**params)) > 0
    for key in ("top_p", "typical_p", "min_p"):
        for factor in (1 - 1e-5, 1 + 1e-5):
            nearby = {**params, key: min(1.0, params[key] * factor)}
            if (
                params[key] != 1.0
                and ((plain_distribution(logits, SamplingParams(**nearby)) > 0) != support).any()
            ):
                return True
    return False


@given(logits_rows(), filters)
@settings(max_examples=80)
@example(
    np.zeros(300, np.float32),
    {"temperature": 1.0, "top_k": 150, "top_p": 0.5, "min_p": 0.0, "typical_p": 1.0},
)
@example(
    np.array([-0.0, -0.0, 0.0], np.float32),
    {"temperature": 1.0, "top_k": 1, "top_p": 0.0, "min_p": 0.0, "typical_p": 1.0},
)
@example(
    np.zeros(300, np.float32),
    {"temperature": 1.0, "top_k": 0, "top_p": 0.0, "min_p": 1.0, "typical_p": 0.0},
)
def test_tokens_are_drawn_from_the_plain_distribution(logits, filters):
    assume(not is_on_an_edge(logits, filters))
    params = SamplingParams(**filters)
    expected = plain_distribution(logits, params)
    count = 200
    drawn = np.bincount(draw_many(logits, params, count), minlength=len(logits))
    assert not drawn[expected == 0].any()
    assert_within_chance(drawn, expected)


@pytest.mark.parametrize(
    "filters",
    [
        {},
        {"temperature": 0.5},
        {"temperature": 1.7},
        {"top_k": 10},
        {"top_p": 0.8},
        {"min_p": 0.05},
        {"typical_p": 0.7},
        {"top_k": 50, "top_p": 0.9, "min_p": 0.02, "temperature": 0.8, "typical_p": 0.95},
        {"presence_penalty": 1.5, "frequency_penalty": 0.5, "repetition_penalty": 1.4},
        {"logit_bias": {3: 4.0, 4: -100, 5: -2.5}},
    ],
    ids=str,
)
def test_frequencies_by_chi_squared(filters):
    logits = np.random.default_rng(3).normal(0, 1.5, 200).astype(np.float32)
    params = SamplingParams(**filters, seed=11)
    generated, prompt = [1, 1, 1, 2, 150], [2, 7, 9]
    counts = TokenCounts(200, prompt)
    for token_id in generated:
        counts.add(token_id)
    history = (prompt, generated) if params.has_penalties else ((), ())
    expected = plain_distribution(logits, params, *history)
    count = 4000
    drawn = np.bincount(draw_many(logits, params, count, counts=counts), minlength=200)
    assert chi_squared_pvalue(drawn, expected * count) > 1e-4
    assert not drawn[expected == 0].any()


@pytest.mark.parametrize("offset", [-5000.0, -31.0, 29.0, 60.0, 5000.0])
@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_what_is_added_to_all_logits_changes_nothing(offset, temperature):
    logits = np.random.default_rng(4).normal(0, 1.5, 200).astype(np.float32)
    params = SamplingParams(top_p=0.9, temperature=temperature)
    expected = plain_distribution(logits, params)
    count = 4000
    drawn = np.bincount(draw_many(logits + np.float32(offset), params, count), minlength=200)
    assert chi_squared_pvalue(drawn, expected * count) > 1e-4


@pytest.mark.parametrize("num_rows", [1, 128])
@pytest.mark.parametrize("top_p", [0.0, 0.3, 0.8, 0.95, 0.999])
@pytest.mark.parametrize("steepness", [0.0, 0.01, 0.5, 1.0, 1.4, 2.0, 4.0])
def test_top_p_gives_each_token_of_the_nucleus_its_share_of_the_draws(num_rows, top_p, steepness):
    random = np.random.default_rng(0)
    values = -steepness * np.log(np.arange(1, 1025)) + random.normal(0, 0.3 * steepness, 1024)
    logits = random.permutation(values).astype(np.float32)
    count = 4096
    rows = np.repeat(logits[None], num_rows, axis=0)
    plan = plan_of([SamplingParams(top_p=top_p, candidate=row) for row in range(num_rows)])
    drawn = np.concatenate(
        [plan.sample(rows, [position] * num_rows) for position in range(count // num_rows)]
    )
    expected = plain_distribution(logits, SamplingParams(top_p=top_p))
    counts = np.bincount(drawn, minlength=1024)
    # The least rounding moves the cut by one token.
    assert np.count_nonzero(counts[expected == 0]) <= (0 < top_p < 1)
    assert_within_chance(counts, expected)
    assert chi_squared_pvalue(counts, expected * count) > 1e-5


def test_two_sequences_of_one_seed_are_independent():
    logits = np.zeros(16, np.float32)
    steps = 2000
    tokens = [
        [
            sample(logits, SamplingParams(seed=5, candidate=j), position)
            for position in range(steps // 4)
        ]
        for j in (0, 1)
    ]
    table = np.histogram2d(*tokens, bins=4)[0]
    assert stats.chi2_contingency(table).pvalue > 1e-4


@pytest.mark.parametrize(
    "filters",
    [{}, {"top_k": 3}, {"top_p": 0.5}, {"typical_p": 0.5}, {"min_p": 1.0}],
    ids=str,
)
def test_temperature_zero_takes_the_lowest_of_the_likeliest(filters):
    logits = np.array([1, 5, 5, 2, 5], np.float32)
    params = SamplingParams(temperature=0, **filters)
    assert [sample(logits, params, position) for position in range(20)] == [1] * 20


def test_next_to_temperature_zero_only_the_likeliest_are_left():
    logits = np.array([1, 5, 5, 2, 4.999], np.float32)
    for temperature in (1e-6, 1e-30, 5e-324):
        drawn = draw_many(logits, SamplingParams(temperature=temperature), 60)
        assert set(drawn.tolist()) == {1, 2}


@pytest.mark.parametrize("filters", [{"top_k": 1}, {"top_p": 0.0}, {"min_p": 1.0}], ids=str)
def test_a_filter_always_keeps_the_likeliest_token(filters):
    logits = np.random.default_rng(0).normal(0, 0.01, 300).astype(np.float32)
    drawn = draw_many(logits, SamplingParams(**filters), 50)
    assert set(drawn.tolist()) == {int(logits.argmax())}


def mixed_params():
    """One of every kind of row, greedy and filtered, edited and plain."""
    kinds = [
        {},
        {"temperature": 0.0},
        {"temperature": 0.6},
        {"top_k": 5},
        {"top_k": 200},
        {"top_p": 0.95},
        {"top_p": 0.3, "temperature": 1.9},
        {"top_p": 0.8},
        {"top_p": 0.95, "temperature": 1.5},
        {"top_p": 0.999},
        {"top_p": 0.9, "min_p": 0.02},
        {"min_p": 0.1},
        {"typical_p": 0.9},
        {"typical_p": 0.4, "top_p": 0.8, "top_k": 60},
        {"top_k": 40, "top_p": 0.95, "min_p": 0.01, "temperature": 0.8},
        {"logit_bias": {1: 5.0, 2: -100, 3: 3.5}},
        {"repetition_penalty": 1.3},
        {"presence_penalty": 1.0, "temperature": 0.0},
    ]
    return [SamplingParams(**kind, seed=i * 77, candidate=i % 3) for i, kind in enumerate(kinds)]


@pytest.mark.parametrize("vocab_size", [777, 8192])
def test_a_row_gives_the_same_token_in_any_batch(vocab_size):
    random = np.random.default_rng(8)
    params = mixed_params()
    logits = random.normal(0, 3, (len(params), vocab_size)).astype(np.float32)
    counts = {row: TokenCounts(vocab_size, [5, 6, row]) for row in range(len(params))}
    banned = {3: [int(logits[3].argmax())], 5: [0, 9]}
    for position in range(30):
        alone = [
            sample(
                logits[row],
                params[row],
                position,
                counts=counts[row],
                banned=banned.get(row, ()),
                never=[4],
            )
            for row in range(len(params))
        ]
        rows = random.permutation(len(params))[: random.integers(1, len(params) + 1)]
        batch = sample_batch(
            logits[rows],
            [params[row] for row in rows],
            [position] * len(rows),
            counts={place: counts[row] for place, row in enumerate(rows)},
            banned={place: banned[row] for place, row in enumerate(rows) if row in banned},
            never=[4],
        )
        assert batch.tolist() == [alone[row] for row in rows]


@pytest.mark.parametrize("temperature", [0.5, 1.0])
def test_rows_with_top_k_give_the_same_tokens_together_and_alone(temperature):
    random = np.random.default_rng(5)
    params = [
        SamplingParams(temperature=temperature, top_k=k, top_p=top_p, min_p=min_p, seed=k)
        for k in (1, 2, 40, 127, 128, 129, 500)
        for top_p in (1.0, 0.7)
        for min_p in (0.0, 0.05)
    ]
    logits = np.round(random.normal(0, 2, (len(params), 2048)), 1).astype(np.float32)
    for position in range(20):
        together = sample_batch(logits, params, [position] * len(params)).tolist()
        assert together == [
            sample(row, row_params, position)
            for row, row_params in zip(logits, params, strict=True)
        ]


@pytest.mark.parametrize("is_read_only", [False, True])
@pytest.mark.parametrize("vocab_size", [300, 256])
def test_a_plan_serves_many_steps_and_leaves_the_logits_alone(vocab_size, is_read_only):
    params = mixed_params()
    logits = np.random.default_rng(1).normal(0, 3, (len(params), vocab_size)).astype(np.float32)
    before = logits.copy()
    logits.flags.writeable = not is_read_only
    for plan_params in (params, [SamplingParams(seed=1), SamplingParams(top_k=3)] * 9):
        plan = plan_of(plan_params, never=[7, 9])
        for position in range(3):
            positions = [position] * len(params)
            expected = sample_batch(logits, plan_params, positions, never=[7, 9])
            assert plan.sample(logits, positions).tolist() == expected.tolist()
        assert (logits == before).all()


@pytest.mark.parametrize("params", mixed_params(), ids=str)
def test_what_may_never_be_sampled_is_not(params):
    logits = np.random.default_rng(2).normal(0, 1, 50).astype(np.float32)
    logits[7] = 30.0
    logits[8] = 25.0
    tokens = {sample(logits, params, position, banned=[8], never=[7]) for position in range(100)}
    assert not tokens & {7, 8}


def test_an_empty_ban_beside_a_banned_likeliest_token_does_not_underflow():
    logits = np.array([0.0, 0.5, 200.0], np.float32)
    tokens = {sample(logits, SamplingParams(), position, never=[2]) for position in range(50)}
    assert tokens == {0, 1}


def test_forced_tokens_win_over_penalties_and_filters():
    logits = np.array([9, 0, 0, -50, -50], np.float32)
    counts = TokenCounts(5)
    for _ in range(200):
        counts.add(3)
    params = SamplingParams(
        logit_bias={3: 100, 4: 100}, frequency_penalty=2.0, repetition_penalty=10.0, top_p=0.999
    )
    tokens = {sample(logits, params, position, counts=counts) for position in range(40)}
    assert tokens <= {3, 4}
    assert sample(logits, params, 0, banned=[3]) == 4


def test_wishes_yield_when_they_leave_nothing():
    logits = np.array([3, 2, 1], np.float32)
    greedy = {"temperature": 0.0}
    all_forbidden = SamplingParams(logit_bias={0: -100, 1: -100, 2: -100}, **greedy)
    assert sample(logits, all_forbidden, 0) == 0
    assert sample(logits, all_forbidden, 0, banned=[0]) == 1
    forced_but_banned = SamplingParams(logit_bias={2: 100}, **greedy)
    assert sample(logits, forced_but_banned, 0, never=[2]) == 0
    assert sample(logits, SamplingParams(**greedy), 0, banned=[0, 1, 2], never=[0]) == 1


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("filters", [{}, {"temperature": 0.0}, {"top_p": 0.9}, {"typical_p": 0.5}])
def test_a_broken_row_is_reported_and_harms_no_other(bad, filters):
    logits = np.random.default_rng(4).normal(0, 1, (3, 40)).astype(np.float32)
    params = [SamplingParams(**filters, seed=i) for i in range(3)]
    expected = sample_batch(logits, params, [0, 0, 0])
    logits[1, 13] = bad
    tokens = sample_batch(logits, params, [0, 0, 0])
    assert tokens.tolist() == [expected[0], NO_TOKEN, expected[2]]
