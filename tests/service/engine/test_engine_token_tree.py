"""Token trees: every node as if its tokens had been read one after the other."""

import math

import numpy as np
import pytest
from fake_runtime import FakeRuntime
from hypothesis import given, settings
from hypothesis import strategies as st
from tree_runner import END, grow, next_logprobs, state_after

from service.engine import token_tree
from service.engine.growth import Growth, Look
from service.engine.loop import EngineLoop
from service.engine.request import Finished, Job
from service.engine.token_tree import TokenTree

VOCAB = 32
PROMPT = (5, 6, 9)


@pytest.fixture
def runtime():
    return FakeRuntime(VOCAB)


def growth_of(parents, token_ids, **options):
    count = len(token_ids)
    fields = {
        "parents": np.array(parents, np.int32),
        "token_ids": np.array(token_ids, np.int32),
        "scored": np.ones(count, np.bool_),
        "look_of": np.full(count, -1, np.int32),
        "kept": np.zeros(count, np.bool_),
    }
    return Growth(**(fields | options))


def tokens_to(node, growths):
    """The tokens from the root to a node, over several growths."""
    parents = [0, *(p for g in growths for p in g.parents.tolist())]
    token_ids = [None, *(t for g in growths for t in g.token_ids.tolist())]
    path = []
    while node:
        path.insert(0, token_ids[node])
        node = parents[node]
    return tuple(path)


@st.composite
def growths_of_a_tree(draw):
    growths, num_nodes = [], 1
    for _ in range(draw(st.integers(1, 3))):
        count = draw(st.integers(0, 8))
        parents = [draw(st.integers(0, num_nodes + index - 1)) for index in range(count)]
        token_ids = [draw(st.integers(0, VOCAB - 1)) for _ in range(count)]
        scored = np.array([draw(st.booleans()) for _ in range(count)], np.bool_)
        looks = np.array([draw(st.integers(-1, 0)) for _ in range(count)], np.int32)
        first = not growths
        growths.append(
            growth_of(
                parents,
                token_ids,
                scored=scored,
                look_of=looks,
                new_looks=(Look(top_k=3, mass_of=bytes([1, 0] * (VOCAB // 2))),) if first else (),
                root_look=draw(st.integers(-1, 0)),
                kept=np.ones(count, np.bool_),
            )
        )
        num_nodes += count
    return growths


@given(growths_of_a_tree(), st.integers(1, 5))
@settings(max_examples=60)
def test_every_node_is_as_if_its_tokens_were_read_in_a_row(growths, max_rows):
    runtime = FakeRuntime(VOCAB)
    tree = TokenTree(state_after(runtime, PROMPT), runtime.config, END)
    first = 1
    for number, growth in enumerate(growths):
        grown = grow(tree, runtime, growth, max_rows)
        looked = [0] if growth.root_look == 0 else []
        for index, token_id in enumerate(growth.token_ids.tolist()):
            node = first + index
            path = tokens_to(node, growths[: number + 1])
            before = next_logprobs(runtime, (*PROMPT, *path[:-1]))
            expected = before[token_id] if growth.scored[index] else 0.0
            assert grown.logprobs[index] == expected
            if growth.look_of[index] == 0:
                looked.append(node)
        assert grown.top_counts.tolist() == [3] * len(looked)
        for place, node in enumerate(looked):
            behind = next_logprobs(runtime, (*PROMPT, *tokens_to(node, growths[: number + 1])))
            order = np.argsort(-behind, kind="stable")[:3]
            rows = slice(3 * place, 3 * place + 3)
            assert grown.top_token_ids[rows].tolist() == order.tolist()
            assert grown.top_logprobs[rows].tolist() == behind[order].tolist()
            mass = math.log(np.exp(behind[::2].astype(np.float64)).sum())
            assert grown.log_masses[place] == pytest.approx(mass, abs=1e-5)
        first += len(growth.token_ids)


def test_a_look_chooses_within_a_set_at_a_temperature(runtime):
    tree = TokenTree(state_after(runtime, PROMPT), runtime.config, END)
    within = bytes(token_id in (3, 7, 9) for token_id in range(VOCAB))
    look = Look(top_k=5, within=within, temperature=0.5)
    grown = grow(tree, runtime, growth_of([], [], new_looks=(look,), root_look=0))
    behind = next_logprobs(runtime, PROMPT, temperature=0.5)
    order = sorted((3, 7, 9), key=lambda token_id: -behind[token_id])
    assert grown.top_token_ids.tolist() == order
    np.testing.assert_allclose(grown.top_logprobs, behind[order], rtol=1e-6)


def test_pooled_states_are_summed(runtime):
    tree = TokenTree(state_after(runtime, ()), runtime.config, END)
    grown = grow(tree, runtime, growth_of([0, 1], [4, 8], pooled=True))
    expected = state_after(runtime, (4,)) + state_after(runtime, (4, 8))
    np.testing.assert_allclose(grown.hidden_sum, expected)


@pytest.mark.parametrize(
    ("growth", "words"),
    [
        (growth_of([0], [VOCAB]), "outside the vocabulary"),
        (growth_of([1], [3]), "before its parent"),
        (growth_of([-1], [3]), "not kept"),
        (growth_of([0], [3], look_of=np.array([0], np.int32)), "look that there is not"),
        (growth_of([0], [3], scored=np.zeros(2, np.bool_)), "another shape"),
        (growth_of([], [], new_looks=(Look(within=b"\1"),)), "1 entries"),
        (growth_of([], [], new_looks=(Look(temperature=0.0),)), "temperature"),
    ],
)
def test_a_growth_that_does_not_fit_is_refused(runtime, growth, words):
    tree = TokenTree(state_after(runtime, ()), runtime.config, END)
    with pytest.raises(ValueError, match=words):
        tree.grow(growth)


def test_states_kept_are_bounded(runtime, monkeypatch):
    monkeypatch.setattr(token_tree, "MAX_KEPT_BYTES", 3 * 16)
    tree = TokenTree(state_after(runtime, ()), runtime.config, END)
    grow(tree, runtime, growth_of([0, 0], [3, 4], kept=np.ones(2, np.bool_)))
    with pytest.raises(ValueError, match="too many states: 4"):
        tree.grow(growth_of([1], [3], kept=np.ones(1, np.bool_)))
    grow(tree, runtime, growth_of([1], [3]))


def test_only_what_is_kept_can_be_gone_on_from(runtime):
    tree = TokenTree(state_after(runtime, ()), runtime.config, END)
    grow(tree, runtime, growth_of([0, 1], [4, 8], kept=np.array([False, True])))
    with pytest.raises(ValueError, match="not kept"):
        tree.grow(growth_of([1], [3]))
    grow(tree, runtime, growth_of([2], [3]))
    with pytest.raises(ValueError, match="not kept"):
        tree.grow(growth_of([2], [3], forgets=True))


@pytest.fixture
def loop(runtime):
    return EngineLoop(runtime, end_of_text_id=END, max_running=2, max_queue=2)


def steps(loop, count=30):
    events = []
    for _ in range(count):
        loop.step()
        events += loop.take_events().get("w", [])
    return events


def test_a_job_grows_its_tree_and_ends_with_what_its_prompt_asked_for(loop, runtime):
    job = Job(
        job_id="a",
        prompt_token_ids=PROMPT,
        max_tokens=0,
        prompt_logprobs=0,
        prompt_logprobs_from=1,
        next_top_k=1,
        return_state=True,
        growth=growth_of([0, 1], [7, 8], kept=np.array([False, True])),
    )
    assert loop.submit("w", [job])
    *_, scored, grown = steps(loop)
    np.testing.assert_array_equal(
        scored.scores.logprobs,
        [next_logprobs(runtime, PROMPT[:index])[PROMPT[index]] for index in (1, 2)],
    )
    assert grown.logprobs[1] == next_logprobs(runtime, (*PROMPT, 7))[8]
    assert loop.busy
    assert not loop.has_work
    loop.grow("w", "a", growth_of([2], [9], last=True))
    assert loop.has_work
    further, end = steps(loop)
    assert further.logprobs[0] == next_logprobs(runtime, (*PROMPT, 7, 8))[9]
    assert isinstance(end, Finished)
    assert end.finish_reason == "length"
    assert end.next.logprobs[0] == next_logprobs(runtime, PROMPT).max()
    assert end.state == state_after(runtime, PROMPT).tobytes()
    assert not loop.busy


def test_a_waiting_tree_can_be_cancelled_and_frees_its_slot(loop):
    idle = [Job(job_id=name, max_tokens=0, growth=growth_of([], [])) for name in "abc"]
    assert loop.submit("w", idle)
    assert sum(isinstance(event, Finished) for event in steps(loop)) == 0
    assert (loop.scheduler.num_running, loop.scheduler.num_waiting) == (2, 1)
    assert not loop.has_work
    loop.cancel("w", ["a"])
    assert loop.has_work
    assert [event.finish_reason for event in steps(loop) if isinstance(event, Finished)] == [
        "cancelled"
    ]
    assert (loop.scheduler.num_running, loop.scheduler.num_waiting) == (2, 0)


def test_a_growth_that_does_not_fit_ends_its_job_alone(loop):
    jobs = [Job(job_id=name, max_tokens=0, growth=growth_of([], [])) for name in "ab"]
    assert loop.submit("w", jobs)
    steps(loop)
    loop.grow("w", "a", growth_of([5], [3]))
    loop.grow("w", "unknown", growth_of([0], [3]))
    loop.grow("w", "b", growth_of([0], [3], last=True))
    ends = {event.job_id: event for event in steps(loop) if isinstance(event, Finished)}
    assert ends["a"].error_code == "invalid_job"
    assert "before its parent" in ends["a"].error_message
    assert ends["b"].finish_reason == "length"


def test_a_failing_network_fails_the_trees_it_was_run_for(loop, runtime):
    assert loop.submit("w", [Job(job_id="a", max_tokens=0, growth=growth_of([], []))])
    steps(loop)
    runtime.failures = 1
    loop.grow("w", "a", growth_of([0], [3], kept=np.ones(1, np.bool_)))
    (end,) = steps(loop)
    assert end.error_code == "step_failed"
    assert not loop.busy


def test_a_job_does_not_both_sample_and_grow(loop):
    assert loop.submit("w", [Job(job_id="a", max_tokens=1, growth=growth_of([], []))])
    (end,) = steps(loop)
    assert end.error_code == "invalid_job"
