"""The stages hand on to each other, do nothing twice, and say what is missing."""

import json
import shutil

import numpy as np
import pytest
from conftest import tiny_settings

from model.bundle.load import load_bundle
from model.bundle.versions import list_versions
from model.errors import ConfigurationError, TrainingError
from model.network.weights_file import read_weights
from model.runtime.numpy_runtime import NumpyRuntime
from training.evaluate import quality_loss
from training.initial_weights import mean_weights
from training.pipeline import Pipeline
from training.run_directory import RunDirectory, read_json, write_json
from training.settings import Settings


def copy_of(finished, tmp_path, **settings):
    """A pipeline over a copy of the finished run, and what it says."""
    run = RunDirectory(tmp_path / "runs" / "tales")
    shutil.copytree(finished.run.root, run.root)
    said: list[str] = []
    changed = finished.settings.model_copy(update={"bundles": tmp_path / "bundles", **settings})
    return Pipeline(run, changed, said.append), run, said


def test_a_run_ends_with_a_bundle_that_beats_chance(finished):
    bundle = load_bundle(finished.bundles / "tales")
    scores = bundle.manifest.scores
    assert scores.float32.bits_per_byte < scores.ngram[1].bits_per_byte
    assert abs(quality_loss(scores.float32, scores.int8)) < 0.02
    for word in ("prepared", "plan: lstm 1 x 48", "trained 400 steps", "held-out", "published"):
        assert any(word in line for line in finished.said), word


def test_a_second_run_finds_all_done(finished, tmp_path):
    pipeline, run, said = copy_of(finished, tmp_path, bundles=finished.bundles)
    before = {path: path.stat().st_mtime_ns for path in run.export.iterdir()}
    pipeline.run_all()
    assert {path: path.stat().st_mtime_ns for path in run.export.iterdir()} == before
    assert sum("before" in line for line in said) == 3
    assert list_versions(finished.bundles, "tales") == [1]


def test_another_slice_of_test_text_is_scored_anew(finished, tmp_path):
    pipeline, run, said = copy_of(finished, tmp_path, evaluation_tokens=500)
    pipeline.evaluate()
    assert read_json(run.evaluation)["float32"]["num_tokens"] == 500
    pipeline.export()
    assert load_bundle(run.export).manifest.scores.float32.num_tokens == 500
    assert not any("before" in line for line in said)


def test_another_example_prompt_is_exported_anew(finished, tmp_path):
    pipeline, _, _ = copy_of(finished, tmp_path, example_prompt="It's a café.")
    with pytest.raises(TrainingError, match="another --example-prompt"):
        pipeline.publish()
    pipeline.export()
    pipeline.publish()
    bundle = load_bundle(tmp_path / "bundles" / "tales")
    assert bundle.manifest.example_prompt == "It's a café."


def test_too_great_a_loss_by_int8_is_not_published(finished, tmp_path):
    pipeline, run, _ = copy_of(finished, tmp_path, max_quality_loss=0.02)
    evaluation = read_json(run.evaluation)
    evaluation["int8"]["bits_per_byte"] = 1.05 * evaluation["float32"]["bits_per_byte"]
    write_json(run.evaluation, evaluation)
    with pytest.raises(TrainingError, match=r"not published: .* 5\.00% more .*0\.02"):
        pipeline.publish()
    assert list_versions(tmp_path / "bundles", "tales") == []


def test_an_export_older_than_the_evaluation_is_not_published(finished, tmp_path):
    pipeline, run, _ = copy_of(finished, tmp_path)
    evaluation = read_json(run.evaluation)
    write_json(run.evaluation, {**evaluation, "inputs": {}})
    with pytest.raises(TrainingError, match="not exported since its last evaluation"):
        pipeline.publish()


def test_each_stage_says_which_one_comes_before_it(tmp_path, corpus):
    run = RunDirectory(tmp_path / "tales")
    pipeline = Pipeline(run, tiny_settings(bundles=tmp_path / "bundles"), lambda line: None)
    with pytest.raises(ConfigurationError, match="--corpus is missing"):
        pipeline.prepare()
    with pytest.raises(TrainingError, match=r"not prepared yet; start: .* prepare --name tales"):
        pipeline.train()
    with pytest.raises(TrainingError, match="not trained yet"):
        pipeline.evaluate()
    with pytest.raises(TrainingError, match="not trained yet"):
        pipeline.export()
    with pytest.raises(TrainingError, match="not evaluated yet"):
        pipeline.publish()


def test_a_corpus_that_changed_after_training_began_is_noticed(finished, tmp_path):
    pipeline, run, _ = copy_of(finished, tmp_path)
    path = run.prepared / "corpus.json"
    path.write_text(json.dumps({**read_json(path), "digest": "0" * 64}))
    with pytest.raises(
        ConfigurationError, match=r"has changed since its training began.*--restart"
    ):
        pipeline.train()


@pytest.fixture
def fine_tuning(finished, tmp_path):
    """Settings of a run on other words that goes on from the finished one."""
    text = tmp_path / "mine.txt"
    text.write_text("My own words, about the green hill. " * 400 + "\n\n".join("abcdefghij" * 30))
    return {
        "corpus": text,
        "from_bundle": finished.bundles / "tales",
        "hidden_size": None,
        "vocab_size": None,
        "bundles": tmp_path / "bundles",
    }


def test_fine_tuning_can_start_from_the_mean_of_bundles(finished, fine_tuning, tmp_path):
    from training.train import trained_weights

    other_run = RunDirectory(tmp_path / "runs" / "other")
    Pipeline(other_run, tiny_settings(**fine_tuning, steps=30), lambda line: None).run_all()
    both = [finished.bundles / "tales", tmp_path / "bundles" / "other"]
    settings = tiny_settings(**fine_tuning, average_with=str(both[1]), steps=1, learning_rate=1e-7)
    run = RunDirectory(tmp_path / "runs" / "mean")
    pipeline = Pipeline(run, settings, lambda line: None)
    pipeline.prepare()
    pipeline.train()
    one, two = (read_weights(load_bundle(path).weights_path) for path in both)
    weights, _ = trained_weights(run)
    assert max(abs(one[name] - two[name]).max() for name in one) > 1e-3
    for name, value in weights.items():
        assert abs(value - (one[name] + two[name]) / 2).max() < 1e-5, name


def test_bundles_that_are_not_alike_are_refused_before_any_text_is_read(
    finished, fine_tuning, tmp_path
):
    other = RunDirectory(tmp_path / "runs" / "deep")
    settings = tiny_settings(layers=2, steps=1, corpus=None, bundles=tmp_path / "bundles")
    shutil.copytree(finished.run.prepared, other.prepared)
    pipeline = Pipeline(other, settings, lambda line: None)
    for stage in (pipeline.train, pipeline.evaluate, pipeline.export, pipeline.publish):
        stage()
    deep = str(tmp_path / "bundles" / "deep")
    run = RunDirectory(tmp_path / "runs" / "mean")
    mean = Pipeline(run, tiny_settings(**fine_tuning, average_with=deep), lambda line: None)
    with pytest.raises(ConfigurationError, match=r"deep/1 cannot be averaged .* number of layers"):
        mean.prepare()
    narrow = Pipeline(run, tiny_settings(**{**fine_tuning, "hidden_size": 47}), lambda line: None)
    with pytest.raises(ConfigurationError, match=r"--hidden-size is 47, but the bundle .* has 48"):
        narrow.prepare()
    assert not run.prepared.exists()
    with pytest.raises(ValueError, match="--average-with needs --from"):
        Settings.model_validate({"average_with": "a,b"})


def test_fine_tuning_keeps_tokenizer_and_sizes_and_starts_from_the_weights(
    finished, fine_tuning, tmp_path
):
    run = RunDirectory(tmp_path / "runs" / "mine")
    settings = tiny_settings(**fine_tuning, steps=1, learning_rate=1e-7)
    pipeline = Pipeline(run, settings, lambda line: None)
    pipeline.prepare()
    pipeline.train()
    base = load_bundle(finished.bundles / "tales")
    assert (run.prepared / "tokenizer.json").read_bytes() == base.tokenizer_path.read_bytes()
    plan = read_json(run.plan)["plan"]
    assert plan["config"]["hidden_size"] == base.config.hidden_size
    from training.train import trained_weights

    weights, _ = trained_weights(run)
    for name, value in read_weights(base.weights_path).items():
        assert abs(weights[name] - value).max() < 1e-5, name


def test_fine_tuning_can_go_on_with_a_wider_network(finished, fine_tuning, tmp_path):
    wide = {**fine_tuning, "hidden_size": 60, "embedding_size": 50}
    settings = tiny_settings(**wide, steps=1, learning_rate=1e-7)
    run = RunDirectory(tmp_path / "runs" / "wider")
    Pipeline(run, settings, lambda line: None).run_all()
    narrow, wider = (
        load_bundle(path) for path in (finished.bundles / "tales", tmp_path / "bundles" / "wider")
    )
    assert (wider.config.hidden_size, wider.config.embedding_size) == (60, 50)
    prompt = np.arange(1, 200, 7)
    expected, found = (logits_after(bundle, prompt) for bundle in (narrow, wider))
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=1e-2)


def logits_after(bundle, token_ids):
    """Of the token after ``token_ids``, by the weights kept in ``bundle``."""
    runtime = NumpyRuntime(bundle.config, read_weights(bundle.weights_path))
    return runtime.logits(
        runtime.prefill(token_ids[None].astype(np.int32), runtime.initial_state(1))
    )


def test_a_mean_can_be_of_a_network_and_of_what_it_was_widened_to(finished, fine_tuning, tmp_path):
    widths = {"hidden_size": 60, "embedding_size": 50}
    wide = RunDirectory(tmp_path / "runs" / "wider")
    settings = tiny_settings(**{**fine_tuning, **widths}, steps=30)
    Pipeline(wide, settings, lambda line: None).run_all()
    both = [finished.bundles / "tales", tmp_path / "bundles" / "wider"]
    with pytest.raises(
        ConfigurationError,
        match=r"wider/1 is wider .* --hidden-size 60 and --embedding-size 50 at least",
    ):
        mean_weights(both, load_bundle(both[0]).config, seed=1)
    config = load_bundle(both[1]).config
    mean = mean_weights(both, config, seed=1)
    one = read_weights(load_bundle(both[0]).weights_path)["layer_0/recurrent_kernel"]
    two = read_weights(load_bundle(both[1]).weights_path)["layer_0/recurrent_kernel"]
    shared = mean["layer_0/recurrent_kernel"].reshape(60, 4, 60)[:48, :, :48]
    expected = (one.reshape(48, 4, 48) + two.reshape(60, 4, 60)[:48, :, :48]) / 2
    np.testing.assert_allclose(shared, expected, rtol=0, atol=1e-6)
    new = mean["layer_0/recurrent_kernel"].reshape(60, 4, 60)[48:, :, :48]
    np.testing.assert_allclose(new, two.reshape(60, 4, 60)[48:, :, :48] / 2, rtol=0, atol=1e-6)
