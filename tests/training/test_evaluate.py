"""Scores against plain NumPy, on rows that cover the test text exactly once."""

import math

import numpy as np
import pytest
from fake_runtime import FakeRuntime
from hypothesis import given
from hypothesis import strategies as st

from model.bundle.manifest import Score
from model.config import ModelConfig
from model.errors import TrainingError
from model.network.initialisation import initial_weights
from model.runtime.numpy_runtime import NumpyRuntime
from model.tokenizers import train_tokenizer
from training.batches import evaluation_rows
from training.evaluate import held_out_text, network_nats, quality_loss, runtime_nats
from training.run_directory import read_json

TOKENIZER = train_tokenizer("char", ["abcdefghé "], 32)
END = TOKENIZER.end_of_text_id


def documents(*texts: str) -> np.ndarray:
    ids = [token_id for text in texts for token_id in [END, *TOKENIZER.encode(text)]]
    return np.array(ids, np.uint16)


def plain_nats(config, weights, rows, mask) -> float:
    """The nats of ``rows`` [rows, time + 1], one token after the other, in float64."""
    oracle = NumpyRuntime(config, weights)
    nats = 0.0
    for row, counts in zip(rows, mask, strict=True):
        state = oracle.initial_state(1)
        for token_id, target, counted in zip(row[:-1], row[1:], counts, strict=True):
            if token_id == END:
                state = oracle.initial_state(1)
            logits, state = oracle.step(np.array([token_id], np.int32), state)
            exact = logits[0].astype(np.float64)
            nats += counted * (np.log(np.exp(exact).sum()) - exact[target])
    return float(nats)


@given(st.integers(2, 40_000), st.integers(0, 40_000))
def test_rows_hold_each_target_once_in_order(num_ids, max_tokens):
    random = np.random.default_rng(num_ids)
    ids = random.integers(2, TOKENIZER.vocab_size, num_ids).astype(np.uint16)
    text = held_out_text(ids, TOKENIZER, max_tokens)
    scored = min(num_ids - 1, max_tokens) if max_tokens else num_ids - 1
    assert text.num_tokens == scored
    assert np.array_equal(text.targets[text.mask], ids[1 : scored + 1])
    assert np.array_equal(text.inputs[text.mask], ids[:scored])
    assert np.array_equal(text.token_ids, ids[: scored + 1])
    assert len(text.inputs) == evaluation_rows(scored)


def test_bytes_are_those_of_the_text_and_of_no_special_or_unknown_token():
    text = held_out_text(documents("café ", "abc"), TOKENIZER, 0)
    assert text.num_bytes == len("café abc".encode())
    unknown = held_out_text(documents("aZb"), TOKENIZER, 0)
    assert (unknown.num_tokens, unknown.num_bytes) == (3, 2)


@pytest.mark.parametrize("ids", [[], [END]])
def test_without_test_text_there_is_a_clear_error(ids):
    with pytest.raises(TrainingError, match="no test text; raise --test-share"):
        held_out_text(np.array(ids, np.uint16), TOKENIZER, 0)


def test_a_text_of_unknown_tokens_alone_is_refused():
    with pytest.raises(TrainingError, match="no known token"):
        held_out_text(documents("ZZZ"), TOKENIZER, 0)


@pytest.mark.parametrize("cell", ["gru", "lstm"])
def test_the_networks_nats_equal_plain_numpy(cell):
    config = ModelConfig(
        cell=cell, vocab_size=TOKENIZER.vocab_size, embedding_size=6, hidden_size=10
    )
    weights = {name: 3.0 * value for name, value in initial_weights(config, 5).items()}
    text = held_out_text(documents("bad cab", "egg", "a faded facade " * 12), TOKENIZER, 0)
    rows = np.concatenate([text.inputs, text.targets[:, -1:]], axis=1)
    expected = plain_nats(config, weights, rows, text.mask)
    assert network_nats(config, weights, text) == pytest.approx(expected, rel=1e-5)
    assert runtime_nats(NumpyRuntime(config, weights), text) == pytest.approx(expected, rel=1e-5)


def test_many_rows_are_scored_like_one_row_each():
    random = np.random.default_rng(2)
    ids = random.integers(0, TOKENIZER.vocab_size, 9000).astype(np.uint16)
    text = held_out_text(ids, TOKENIZER, 0)
    assert len(text.inputs) == 2
    runtime = FakeRuntime(TOKENIZER.vocab_size)
    nats = 0.0
    for row in range(2):
        state = runtime.initial_state(1)
        for time in range(text.inputs.shape[1]):
            if text.inputs[row, time] == END:
                state = runtime.initial_state(1)
            logits, state = runtime.step(text.inputs[row, time : time + 1], state)
            exact = logits[0].astype(np.float64)
            surprise = np.log(np.exp(exact).sum()) - exact[text.targets[row, time]]
            nats += surprise * text.mask[row, time]
    assert runtime_nats(runtime, text) == pytest.approx(nats, rel=1e-6)


def test_a_score_is_per_token_and_per_byte():
    text = held_out_text(documents("café"), TOKENIZER, 0)
    score = text.score(10.0)
    assert score.nats_per_token == 2.5
    assert score.perplexity == pytest.approx(math.exp(2.5))
    assert score.bits_per_byte == pytest.approx(10.0 / math.log(2) / 5)


def test_quality_loss_is_the_share_of_bits_that_int8_adds():
    def score(bits):
        return Score(
            nats_per_token=1.0, perplexity=3.0, bits_per_byte=bits, num_tokens=9, num_bytes=9
        )

    assert quality_loss(score(2.0), score(2.1)) == pytest.approx(0.05)
    assert quality_loss(score(2.0), score(1.9)) == pytest.approx(-0.05)


def test_the_finished_runs_figures_can_be_computed_again_in_numpy(finished):
    from model.bundle.load import load_bundle
    from training.prepared_corpus import PreparedCorpus
    from training.train import trained_weights

    bundle = load_bundle(finished.run.export)
    prepared = PreparedCorpus.load(finished.run.prepared)
    weights, _ = trained_weights(finished.run)
    text = held_out_text(prepared.token_file("test").ids(), prepared.tokenizer(), 0)
    evaluation = read_json(finished.run.evaluation)
    rows = np.concatenate([text.inputs, text.targets[:, -1:]], axis=1)
    expected = plain_nats(bundle.config, weights, rows, text.mask)
    assert evaluation["float32"]["num_tokens"] == prepared.splits["test"].num_tokens - 1
    assert evaluation["float32"]["num_bytes"] == prepared.splits["test"].num_bytes
    nats = evaluation["float32"]["nats_per_token"] * evaluation["float32"]["num_tokens"]
    assert nats == pytest.approx(expected, rel=1e-4)
    assert evaluation["int8"]["bits_per_byte"] == pytest.approx(
        evaluation["float32"]["bits_per_byte"], rel=0.02
    )
    assert sorted(evaluation["ngram"], key=int) == ["1", "2", "3", "4", "5"]
