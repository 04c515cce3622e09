"""From the name of a run or of a published bundle to its record, whatever state it is in."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from model.bundle.load import load_bundle
from model.bundle.manifest import NAME_PATTERN, Scores
from model.bundle.versions import CURRENT_FILE, bundle_directory, read_current
from model.config import ModelConfig
from model.errors import ConfigurationError
from training.bundle_facts import model_facts, network_facts, origin_facts
from training.log_records import read_log
from training.prepared_corpus import PreparedCorpus, SplitCounts
from training.provenance import shareable_settings
from training.run_directory import RunDirectory, read_json
from training.run_record import RunRecord, embedded_record
from training.settings import GivenSettings


def find_run(name: str, runs: Path, bundles: Path) -> RunRecord:
    """The record of ``name``: a run, a bundle, or ``NAME/VERSION`` of a bundle.

    Where both a run and a bundle are called so, it is the run, which knows more.

    Raises:
        ConfigurationError: there is neither, or it can be no name; says what there is.
        ForetokenError: a file of it is damaged.
    """
    bundle, _, version = name.partition("/")
    folder = bundle_directory(bundles, bundle)
    if version:
        if re.fullmatch(r"[1-9][0-9]{0,8}", version) and (folder / version).is_dir():
            return _record_of_bundle(folder / version, name)
    else:
        run = RunDirectory.of(runs, name)
        if run.settings.exists():
            return _record_of_run(run)
        if (folder / CURRENT_FILE).exists():
            return _record_of_bundle(folder, f"{name}/{read_current(folder)}")
    raise ConfigurationError(
        f"there is neither a run nor a bundle {name!r}; runs in {runs}: {_names(runs)}; bundles in "
        f"{bundles}: {_names(bundles)}"
    )


def _names(folder: Path) -> str:
    entries = sorted(folder.iterdir()) if folder.is_dir() else []
    names = [entry.name for entry in entries if entry.is_dir()]
    return ", ".join(name for name in names if re.fullmatch(NAME_PATTERN, name)) or "none"


def _record_of_run(run: RunDirectory) -> RunRecord:
    exported = embedded_record(run.export / "report.html") or RunRecord(name="", status="")
    log = read_log(run.log)
    plan = read_json(run.plan)["plan"] if run.plan.exists() else {}
    scores = _scores(run)
    prepared = PreparedCorpus.load(run.prepared) if run.prepared.is_dir() else None
    counts = None if prepared is None else prepared.splits["train"]
    return RunRecord(
        name=run.name,
        status=_status(log, is_prepared=prepared is not None, is_evaluated=scores is not None),
        facts=exported.facts or _facts(plan, prepared),
        settings=shareable_settings(GivenSettings({}, {}).over(read_json(run.settings))),
        plan=plan,
        scores=scores,
        log=log,
        train_tokens=None if counts is None else counts.num_tokens,
        bytes_per_token=_bytes_per_token(scores, counts),
        samples=exported.samples,
        gradient_reach=exported.gradient_reach,
        provenance=exported.provenance,
    )


def _record_of_bundle(path: Path, name: str) -> RunRecord:
    """What the manifest says, and what the report carries; an old report carries nothing."""
    bundle = load_bundle(path)
    manifest = bundle.manifest
    carried = embedded_record(bundle.directory / "report.html") or RunRecord(name="", status="")
    return replace(
        carried,
        name=name,
        status="published",
        facts=model_facts(manifest),
        settings=manifest.provenance.settings,
        scores=manifest.scores,
        bytes_per_token=_bytes_per_token(manifest.scores, None),
        provenance={**carried.provenance, **origin_facts(manifest.provenance)},
    )


def _scores(run: RunDirectory) -> Scores | None:
    if not run.evaluation.exists():
        return None
    values = read_json(run.evaluation)
    values.pop("inputs", None)
    return Scores.model_validate(values, strict=False)


def _status(log: Sequence[Mapping[str, Any]], *, is_prepared: bool, is_evaluated: bool) -> str:
    """How far a run has come, for a person."""
    if is_evaluated:
        return "finished"
    shares = [record["share"] for record in log if "share" in record]
    if shares:
        return f"unfinished: {shares[-1]:.0%} of its budget trained, not evaluated yet"
    return f"unfinished: {'prepared, not trained yet' if is_prepared else 'not prepared yet'}"


def _facts(plan: Mapping[str, Any], prepared: PreparedCorpus | None) -> Mapping[str, object]:
    if not plan or prepared is None:
        return {}
    return network_facts(ModelConfig.from_dict(plan["config"]), prepared.tokenizer_kind)


def _bytes_per_token(scores: Scores | None, counts: SplitCounts | None) -> float | None:
    """Of the held-out text where it was scored, else of the training text."""
    if scores is not None:
        return scores.float32.num_bytes / scores.float32.num_tokens
    return None if counts is None else counts.num_bytes / max(1, counts.num_tokens)
