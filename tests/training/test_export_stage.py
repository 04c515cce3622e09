"""The exported folder is a whole, sound bundle, replaced whole or not at all."""

import shutil

import numpy as np
import pytest

from model.bundle.load import load_bundle
from model.bundle.self_check import run_self_check
from model.errors import ForetokenError, TrainingError
from model.network.weights_file import read_weights
from model.runtime.litert_runtime import LiteRTRuntime
from training.bundle_facts import model_facts
from training.export import export_run
from training.run_directory import RunDirectory
from training.run_record import RunRecord, embedded_record
from training.train import trained_weights


def test_the_export_is_a_bundle_that_answers_as_recorded(finished):
    bundle = load_bundle(finished.run.export)
    assert {path.name for path in finished.run.export.iterdir()} == {
        "bundle.json",
        "network.tflite",
        "network.weights.h5",
        "tokenizer.json",
        "report.html",
        "README.md",
        "SHA256SUMS",
    }
    runtime = LiteRTRuntime(bundle.network_path, bundle.config)
    assert run_self_check(runtime, bundle.manifest.self_check) < 1e-3
    assert bundle.manifest.version is None
    assert len(bundle.manifest.self_check.prompt_token_ids) == 16


def test_the_signatures_listed_are_those_of_the_network(finished):
    from ai_edge_litert.compiled_model import CompiledModel

    bundle = load_bundle(finished.run.export)
    model = CompiledModel.from_file(str(bundle.network_path))
    assert set(bundle.manifest.network.signatures) == set(model.get_signature_list())


def test_the_weights_are_the_trained_ones_in_half_precision(finished):
    bundle = load_bundle(finished.run.export)
    weights, _ = trained_weights(finished.run)
    kept = read_weights(bundle.weights_path)
    for name, value in weights.items():
        np.testing.assert_array_equal(kept[name], value.astype(np.float16).astype(np.float32))


def test_provenance_tells_how_and_nothing_of_where(finished):
    manifest = load_bundle(finished.run.export).manifest
    settings = manifest.provenance.settings
    assert settings["steps"] == 400
    assert settings["corpus"] == "tales.txt"
    assert manifest.provenance.source_titles == ("tales.txt",)
    assert manifest.provenance.minutes > 0
    text = (finished.run.export / "bundle.json").read_text()
    assert str(finished.bundles.parent) not in text


def test_the_facts_are_the_configs(finished):
    facts = model_facts(load_bundle(finished.run.export).manifest)
    assert facts["network"] == "lstm, 1 x 48"
    assert facts["tokens"] == "bpe, 300 ids"


def exported(finished, run, **changes):
    bundle = load_bundle(finished.run.export)
    values = {
        "config": bundle.config,
        "weights": trained_weights(finished.run)[0],
        "network": finished.run.network,
        "scores": bundle.manifest.scores,
        "provenance": bundle.manifest.provenance,
        "corpus": {},
        "check_token_ids": [0, 5, 6],
        "example_prompt": "",
        "record": RunRecord(name="tales", status="finished"),
    }
    export_run(run, **{**values, **changes})


def test_an_export_that_fails_leaves_the_last_one(finished, tmp_path):
    run = RunDirectory(tmp_path / "tales")
    shutil.copytree(finished.run.prepared, run.prepared)
    exported(finished, run)
    digest = load_bundle(run.export).digest
    with pytest.raises(TrainingError, match="cannot write"):
        exported(finished, run, network=tmp_path / "missing.tflite")
    broken = tmp_path / "broken.tflite"
    broken.write_bytes(finished.run.network.read_bytes()[:1000])
    with pytest.raises(ForetokenError):
        exported(finished, run, network=broken)
    assert load_bundle(run.export).digest == digest
    exported(finished, run, check_token_ids=[0, 7])
    assert load_bundle(run.export).digest != digest


def test_the_report_carries_the_run_with_its_reach(finished):
    run = embedded_record(finished.run.export / "report.html")
    assert run.scores == load_bundle(finished.run.export).manifest.scores
    assert len(run.gradient_reach.hidden) == len(run.gradient_reach.cell) > 1
    assert len(run.samples) == 3
    assert run.points("validation_loss")
    text = (finished.run.export / "report.html").read_text()
    assert str(finished.bundles.parent) not in text
