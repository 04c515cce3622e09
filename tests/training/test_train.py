"""The training loop: budgets, the best weights, divergence, and kill -9 at any moment."""

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from conftest import tiny_settings

from model.config import ModelConfig
from model.errors import TrainingError
from training.checkpoint import newest_checkpoint
from training.log_records import read_log
from training.plan import Plan
from training.run_directory import RunDirectory
from training.run_settings import resolve_settings
from training.settings import GivenSettings
from training.train import NUM_VALIDATIONS, Trainer, trained_weights

PROJECT = Path(__file__).parents[2]
VOCAB_SIZE = 11
PLAN = Plan(
    config=ModelConfig(
        vocab_size=VOCAB_SIZE, embedding_size=8, hidden_size=16, tie_embeddings=False, dropout=0.1
    ),
    batch_size=4,
    window=8,
    learning_rate=3e-2,
    validation_tokens=128,
    seed=3,
    minutes=10.0,
    steps=30,
)


def learnable_ids(num_tokens: int, seed: int = 0) -> np.ndarray:
    """Documents of a simple rule: each token is one more than the last, with some noise."""
    random = np.random.default_rng(seed)
    ids = np.arange(num_tokens) % (VOCAB_SIZE - 1) + 1
    noisy = random.random(num_tokens) < 0.05
    ids[noisy] = random.integers(1, VOCAB_SIZE, noisy.sum())
    ids[::50] = 0
    return ids.astype(np.uint16)


def trainer(run: Path, plan: Plan = PLAN, **changes: object) -> Trainer:
    options = {
        "train_ids": learnable_ids(2000),
        "validation_ids": learnable_ids(300, seed=1),
        "end_of_text_id": 0,
        "initial_weights": None,
        "started": time.monotonic(),
        "checkpoint_seconds": 1000.0,
        "show": lambda status: None,
        "should_stop": lambda: False,
    }
    return Trainer(plan, RunDirectory(run), **{**options, **changes})


def trained(run: Path, plan: Plan = PLAN, **changes: object):
    trainer(run, plan, **changes).run()
    return trained_weights(RunDirectory(run))


def assert_same(one, other) -> None:
    assert set(one) == set(other)
    for name, value in one.items():
        assert value.tobytes() == other[name].tobytes(), name


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """A run of 30 steps that nothing interrupts."""
    run = tmp_path_factory.mktemp("whole")
    weights, meta = trained(run)
    return run, weights, meta


def test_it_learns_and_makes_exactly_the_steps_asked_for(whole):
    run, _, meta = whole
    assert meta["step"] == 30
    log = read_log(RunDirectory(run).log)
    losses = [record["loss"] for record in log if "loss" in record]
    assert len(losses) == 30
    assert losses[-1] < 0.7 * losses[0]
    validations = [record for record in log if "validation_loss" in record]
    assert min(record["validation_loss"] for record in validations) == meta["best_loss"]
    assert validations[-1]["step"] == 30


def test_the_learning_rate_follows_the_share_of_the_budget(whole):
    rates = [r["learning_rate"] for r in read_log(RunDirectory(whole[0]).log) if "loss" in r]
    assert max(rates) == pytest.approx(PLAN.learning_rate, rel=0.02)
    assert rates[-1] < 0.1 * PLAN.learning_rate


def test_the_same_seed_gives_the_same_weights_and_another_seed_others(whole, tmp_path):
    again, _ = trained(tmp_path / "again")
    assert_same(whole[1], again)
    other, _ = trained(tmp_path / "other", replace(PLAN, seed=4))
    assert any(not np.array_equal(other[name], again[name]) for name in again)


def test_stopped_and_started_again_it_ends_in_the_same_weights(whole, tmp_path):
    asked = iter([False] * 16 + [True])
    with pytest.raises(TrainingError, match=r"stopped at 5\d% .*start the same command again"):
        trained(tmp_path, should_stop=lambda: next(asked))
    assert newest_checkpoint(tmp_path / "checkpoints").meta["step"] == 17
    weights, meta = trained(tmp_path)
    assert_same(whole[1], weights)
    assert meta["best_loss"] == whole[2]["best_loss"]
    steps = [record["step"] for record in read_log(tmp_path / "log.jsonl") if "loss" in record]
    assert steps == list(range(1, 31))


def test_a_truncated_newest_checkpoint_costs_steps_but_not_the_result(whole, tmp_path):
    asked = iter([False] * 20 + [True])
    with pytest.raises(TrainingError, match="stopped"):
        trained(tmp_path, checkpoint_seconds=0.0, should_stop=lambda: next(asked))
    newest = sorted((tmp_path / "checkpoints").glob("step-*.npz"))[-1]
    newest.write_bytes(newest.read_bytes()[:-100])
    weights, _ = trained(tmp_path)
    assert_same(whole[1], weights)


def test_killed_for_real_and_started_again_it_ends_in_the_same_weights(tmp_path, corpus):
    from training.pipeline import Pipeline

    settings = tiny_settings(corpus=corpus, checkpoint_seconds=0, steps=120)
    runs = [RunDirectory.of(tmp_path, name) for name in ("whole", "killed")]
    for run in runs:
        resolve_settings(run, GivenSettings(settings.model_dump(), {}), restart=False)
        Pipeline(run, settings, lambda line: None).prepare()
    process = subprocess.Popen(
        [sys.executable, "-m", "training", "train", "--name", "killed", "--runs", str(tmp_path)],
        cwd=PROJECT,
        stderr=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
    )
    folder = runs[1].checkpoints
    while process.poll() is None and not list(folder.glob("step-00000000[1-9]?.npz")):
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    interrupted = newest_checkpoint(folder).meta
    assert 10 <= interrupted["step"] < 120
    for run in runs:
        Pipeline(run, settings, lambda line: None).train()
    assert_same(trained_weights(runs[0])[0], trained_weights(runs[1])[0])


def test_by_keras_layers_it_learns_the_same(whole, tmp_path):
    weights, meta = trained(tmp_path, replace(PLAN, recurrence="keras"))
    assert meta["best_loss"] == pytest.approx(whole[2]["best_loss"], rel=1e-3)
    for name, value in weights.items():
        np.testing.assert_allclose(value, whole[1][name], rtol=1e-2, atol=1e-3)


def test_late_windows_begin_after_three_quarters_and_go_on_where_they_stopped(tmp_path):
    """23 steps of 4 x 8 tokens, 7 of 4 x 16; once in one go, once stopped in the midst of them."""
    plan = replace(PLAN, late_window=16)
    expected, _ = trained(tmp_path / "whole", plan)
    per_epoch = (2000 // 4 // 8, 2000 // 4 // 16)
    epochs = {
        line["step"]: line["epochs"]
        for line in read_log(RunDirectory(tmp_path / "whole").log)
        if "epochs" in line
    }
    assert epochs[23] == pytest.approx(23 / per_epoch[0])
    assert epochs[24] == pytest.approx(23 / per_epoch[0] + 1 / per_epoch[1])
    assert epochs[30] == pytest.approx(23 / per_epoch[0] + 7 / per_epoch[1])
    for stop_at in (20, 26):
        run = tmp_path / f"stopped at {stop_at}"
        steps = iter(range(1, 100))
        with pytest.raises(TrainingError, match="was stopped"):
            trained(run, plan, should_stop=lambda steps=steps, at=stop_at: next(steps) >= at)
        assert_same(trained(run, plan)[0], expected)
    assert any(
        (expected[name] != value).any() for name, value in trained(tmp_path / "p")[0].items()
    )


def test_a_corpus_too_small_for_late_windows_is_told_at_the_start(tmp_path):
    with pytest.raises(TrainingError, match="--late-window"):
        trainer(tmp_path, replace(PLAN, late_window=600))


def test_a_finished_run_is_left_as_it_is(whole):
    run, weights, meta = whole
    before = sorted(path.stat().st_mtime_ns for path in (run / "checkpoints").iterdir())
    again, meta_again = trained(run)
    assert_same(weights, again)
    assert meta_again == meta
    assert sorted(p.stat().st_mtime_ns for p in (run / "checkpoints").iterdir()) == before


def test_an_unfinished_run_has_no_weights_to_give(tmp_path):
    with pytest.raises(TrainingError, match="not trained yet; start: python -m training train"):
        trained_weights(RunDirectory(tmp_path))


class Clock:
    """``time.monotonic`` that moves by a second for each question."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        self.now += 1.0
        return self.now


def test_a_budget_of_minutes_ends_training_by_the_clock(tmp_path, monkeypatch):
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    plan = replace(PLAN, minutes=10.0, steps=None)
    _, meta = trained(tmp_path, plan, started=0.0)
    assert 10 < meta["step"] < 600
    assert 0.95 * 600 <= meta["seconds"] <= 1.05 * 600
    shares = [record["share"] for record in read_log(tmp_path / "log.jsonl") if "share" in record]
    assert shares == sorted(shares)


def test_the_clock_goes_on_where_the_last_start_left_it(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "monotonic", Clock())
    plan = replace(PLAN, minutes=10.0, steps=None)
    asked = iter([False] * 5 + [True])
    with pytest.raises(TrainingError, match="stopped"):
        trained(tmp_path, plan, started=0.0, should_stop=lambda: next(asked))
    spent = newest_checkpoint(tmp_path / "checkpoints").meta["seconds"]
    clock = Clock()
    monkeypatch.setattr(time, "monotonic", clock)
    trained(tmp_path, plan, started=0.0)
    assert clock.now < 640 - spent


def test_training_stops_early_when_nothing_is_gained_and_keeps_the_best(tmp_path):
    # Validation text of another rule: the more is learnt, the worse it gets.
    against = np.full(300, 5, np.uint16)
    plan = replace(PLAN, patience=3, steps=200)
    weights, meta = trained(tmp_path, plan, validation_ids=against)
    assert meta["step"] < 200
    assert meta["best_step"] < meta["step"]
    log = read_log(tmp_path / "log.jsonl")
    losses = {r["step"]: r["validation_loss"] for r in log if "validation_loss" in r}
    assert losses[meta["best_step"]] == min(losses.values())
    last = newest_checkpoint(tmp_path / "checkpoints").group("average")
    assert any(not np.array_equal(weights[name], last[name]) for name in weights)


def test_validations_are_spread_over_the_budget(whole):
    log = read_log(RunDirectory(whole[0]).log)
    steps = [record["step"] for record in log if "validation_loss" in record]
    assert len(steps) == min(30, NUM_VALIDATIONS)


def test_divergence_goes_back_with_half_the_learning_rate(tmp_path, monkeypatch, caplog):
    made = trainer(tmp_path, checkpoint_seconds=0.0)
    real, faults = made._step.train, iter([7, 12])
    fault = next(faults)

    def failing(window, step, learning_rate):
        nonlocal fault
        if step == fault:
            fault = next(faults, None)
            return float("nan"), 1.0
        return real(window, step, learning_rate)

    monkeypatch.setattr(made._step, "train", failing)
    made.run()
    _, meta = trained_weights(RunDirectory(tmp_path))
    assert (meta["num_restarts"], meta["learning_rate_scale"], meta["step"]) == (2, 0.25, 30)
    assert "diverged at step 7" in caplog.text
    rates = {
        record["step"]: record["learning_rate"]
        for record in read_log(tmp_path / "log.jsonl")
        if "loss" in record
    }
    assert rates[8] < 0.6 * rates[7]
    assert len(rates) == 30


def test_divergence_again_and_again_is_an_error_with_advice(tmp_path, monkeypatch):
    made = trainer(tmp_path)
    monkeypatch.setattr(made._step, "train", lambda *arguments: (float("inf"), 1.0))
    with pytest.raises(TrainingError, match=r"diverged .*--restart and --learning-rate below"):
        made.run()


def test_an_exploding_gradient_or_loss_counts_as_divergence(tmp_path, monkeypatch):
    for number, result in enumerate([(1.0, float("nan")), (50.0, 1.0)]):
        made = trainer(tmp_path / str(number))
        monkeypatch.setattr(made._step, "train", lambda *arguments, result=result: result)
        with pytest.raises(TrainingError, match="diverged"):
            made.run()


def test_fine_tuning_starts_from_the_given_weights(whole, tmp_path):
    _, weights, meta = whole
    made = trainer(tmp_path, replace(PLAN, steps=1, learning_rate=1e-7), initial_weights=weights)
    made.run()
    tuned, tuned_meta = trained_weights(RunDirectory(tmp_path))
    for name, value in weights.items():
        np.testing.assert_allclose(tuned[name], value, atol=1e-5)
    assert tuned_meta["best_loss"] == pytest.approx(meta["best_loss"], abs=1e-3)


def test_without_validation_text_there_is_a_clear_error(tmp_path):
    with pytest.raises(TrainingError, match="no validation text; raise --validation-share"):
        trainer(tmp_path, validation_ids=np.zeros(1, np.uint16))
