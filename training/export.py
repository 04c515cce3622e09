"""The stage ``export``: a trained and evaluated run as the files of a bundle, not yet published."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from model.bundle.manifest import (
    BundleManifest,
    NetworkFile,
    Provenance,
    Scores,
    TokenizerFile,
    WeightsFile,
)
from model.bundle.self_check import make_self_check
from model.bundle.write import write_bundle
from model.config import ModelConfig
from model.errors import TrainingError
from model.network.export import LOGITS_BATCHES, PREFILL_CHUNKS, SCORE_CHUNKS, STEP_BATCHES
from model.network.weights_file import write_weights
from model.runtime import network_file
from model.runtime.litert_runtime import LiteRTRuntime
from model.state import FloatArray
from model.tokenizers.tokenizer import Tokenizer
from training.bundle_facts import model_facts, origin_facts
from training.model_card import render_model_card
from training.pages.report import render_report
from training.run_directory import RunDirectory
from training.run_record import RunRecord

SELF_CHECK_TOKENS = 16


def export_run(
    run: RunDirectory,
    *,
    config: ModelConfig,
    weights: Mapping[str, FloatArray],
    network: Path,
    scores: Scores,
    provenance: Provenance,
    corpus: Mapping[str, object],
    check_token_ids: Sequence[int],
    example_prompt: str,
    record: RunRecord,
) -> None:
    """Writes ``export/``, replacing what was there, whole or not at all.

    Args:
        run: whose export it is; its prepared tokenizer goes along.
        config: sizes.
        weights: the trained weights.
        network: the int8 network that was evaluated.
        scores: of the evaluation.
        provenance: of the manifest.
        corpus: the corpus in a few lines, label to value.
        check_token_ids: tokens whose first are the self-check's prompt.
        example_prompt: of the manifest.
        record: of the run, for the report; facts and origin are filled in here.

    Raises:
        TrainingError: the disk refuses.
        BundleError: the files do not make a sound bundle.
    """
    incoming = run.root / ".export.incoming"
    try:
        shutil.rmtree(incoming, ignore_errors=True)
        incoming.mkdir(parents=True)
        shutil.copyfile(network, incoming / "network.tflite")
        shutil.copyfile(run.prepared / "tokenizer.json", incoming / "tokenizer.json")
        write_weights(incoming / "network.weights.h5", weights, "float16")
        manifest = _manifest(
            run.name,
            folder=incoming,
            config=config,
            scores=scores,
            provenance=provenance,
            check_token_ids=check_token_ids,
            example_prompt=example_prompt,
        )
        facts = model_facts(manifest)
        origin = {**corpus, **origin_facts(provenance)}
        report = render_report(replace(record, facts=facts, provenance=origin))
        (incoming / "report.html").write_text(report, encoding="utf-8")
        card = render_model_card(manifest, facts=facts, corpus=corpus)
        (incoming / "README.md").write_text(card, encoding="utf-8")
        write_bundle(incoming, manifest)
        shutil.rmtree(run.export, ignore_errors=True)
        incoming.rename(run.export)
    except OSError as error:
        shutil.rmtree(incoming, ignore_errors=True)
        raise TrainingError(f"cannot write {run.export}: {error.strerror or error}") from error


def _manifest(
    name: str,
    *,
    folder: Path,
    config: ModelConfig,
    scores: Scores,
    provenance: Provenance,
    check_token_ids: Sequence[int],
    example_prompt: str,
) -> BundleManifest:
    tokenizer = Tokenizer.load(folder / "tokenizer.json")
    network = folder / "network.tflite"
    return BundleManifest(
        name=name,
        created=time.time(),
        config=config,
        tokenizer=TokenizerFile.of(
            folder / "tokenizer.json", kind=tokenizer.kind, vocab_size=tokenizer.vocab_size
        ),
        network=NetworkFile.of(network, quantisation="int8", signatures=_signatures()),
        weights=WeightsFile(),
        scores=scores,
        provenance=provenance,
        self_check=make_self_check(
            LiteRTRuntime(network, config), check_token_ids[:SELF_CHECK_TOKENS]
        ),
        example_prompt=example_prompt,
    )


def _signatures() -> tuple[str, ...]:
    """The signatures of an exported network, by name."""
    return (
        *map(network_file.step_name, STEP_BATCHES),
        *map(network_file.logits_name, LOGITS_BATCHES),
        *(network_file.prefill_name(batch, time) for batch, time in PREFILL_CHUNKS),
        *(network_file.score_name(batch, time) for batch, time in SCORE_CHUNKS),
    )
