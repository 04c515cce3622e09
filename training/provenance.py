"""Where a bundle comes from: the corpus, the settings, the machine and the version of the code."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path
from typing import Any

from model.bundle.manifest import Provenance
from training.prepared_corpus import PreparedCorpus
from training.settings import Settings


def make_provenance(prepared: PreparedCorpus, settings: Settings, seconds: float) -> Provenance:
    """The provenance of a bundle trained for ``seconds``."""
    return Provenance(
        corpus_digest=prepared.digest,
        source_titles=tuple(file.name for file in prepared.files),
        seed=settings.seed,
        settings=shareable_settings(settings),
        code_version=code_version(),
        minutes=seconds / 60.0,
        machine=machine_description(),
    )


def shareable_settings(settings: Settings) -> dict[str, Any]:
    """The settings, JSON-ready, with the name of each file or folder in place of its path.

    Where things lay on one machine tells nobody anything.
    """
    return {key: _without_folders(value) for key, value in settings}


def _without_folders(value: object) -> object:
    if isinstance(value, Path):
        return value.name
    return [_without_folders(each) for each in value] if isinstance(value, tuple) else value


def corpus_facts(prepared: PreparedCorpus) -> dict[str, object]:
    """The corpus in a few lines, label to value."""
    facts: dict[str, object] = {
        split: f"{counts.num_documents:,} documents, {counts.num_bytes:,} bytes, "
        f"{counts.num_tokens:,} tokens"
        for split, counts in prepared.splits.items()
    }
    facts["repeated documents left out"] = prepared.num_dropped_documents
    return facts


def machine_description(cpuinfo: Path = Path("/proc/cpuinfo")) -> str:
    """The processor and how many of its cores this process may use."""
    return f"{_processor(cpuinfo)}, {len(os.sched_getaffinity(0))} cores"


def code_version() -> str:
    """The installed version of this project."""
    try:
        return metadata.version("foretoken")
    except metadata.PackageNotFoundError:
        return "not installed, run from its source"


def _processor(cpuinfo: Path) -> str:
    try:
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()
