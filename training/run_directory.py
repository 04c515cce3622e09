"""Where a training run keeps its files: ``runs/<name>/``. Owns names, and writing JSON safely."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from model.bundle.durable_files import replace_file
from model.bundle.versions import bundle_directory
from model.errors import TrainingError


@dataclass(frozen=True)
class RunDirectory:
    """The paths of one run."""

    root: Path

    @classmethod
    def of(cls, runs: Path, name: str) -> RunDirectory:
        """The directory of the run ``name``, whether it exists or not.

        Raises:
            ConfigurationError: ``name`` cannot name a bundle, which the run is to become.
        """
        return cls(bundle_directory(runs, name))

    @property
    def name(self) -> str:
        """The name of the run and of the bundle it publishes."""
        return self.root.name

    @property
    def settings(self) -> Path:
        """What was set when the run was started, as JSON."""
        return self.root / "settings.json"

    @property
    def plan(self) -> Path:
        """What was chosen for the model and its training, as JSON."""
        return self.root / "plan.json"

    @property
    def prepared(self) -> Path:
        """Folder of the tokenizer and the token ids."""
        return self.root / "prepared"

    @property
    def checkpoints(self) -> Path:
        """Folder of the checkpoints."""
        return self.root / "checkpoints"

    @property
    def log(self) -> Path:
        """One JSON object a line: training losses and validations."""
        return self.root / "log.jsonl"

    @property
    def events(self) -> Path:
        """Folder of TensorBoard events."""
        return self.root / "events"

    @property
    def evaluation(self) -> Path:
        """The scores, as JSON."""
        return self.root / "evaluation.json"

    @property
    def network(self) -> Path:
        """The int8 network that was evaluated."""
        return self.root / "network.tflite"

    @property
    def export(self) -> Path:
        """Folder of a bundle's files, not yet published."""
        return self.root / "export"

    @property
    def exported(self) -> Path:
        """Which evaluation the export was made from, as JSON."""
        return self.root / "exported.json"

    @property
    def published(self) -> Path:
        """Which bundle version this run became, as JSON."""
        return self.root / "published.json"


def read_json(path: Path) -> dict[str, Any]:
    """The JSON object in ``path``.

    Raises:
        TrainingError: the file is missing or holds no JSON object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise TrainingError(f"cannot read {path}: {error}") from error
    if not isinstance(value, dict):
        raise TrainingError(f"{path} does not hold a JSON object")
    return value


def write_json(path: Path, value: object) -> None:
    """Writes ``value`` as JSON: a crash leaves the old file or the new, never half.

    Raises:
        TrainingError: the disk refuses.
    """
    content = (json.dumps(value, indent=2, ensure_ascii=False) + "\n").encode()
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, content, path.with_name(f".{path.name}.incoming"))
    except OSError as error:
        raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error
