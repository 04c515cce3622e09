"""What happened in training, for people and tools: ``log.jsonl`` and TensorBoard events."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import tensorflow as tf

from model.errors import TrainingError
from training.log_records import read_log


class TrainingLog:
    """Appends records to ``log.jsonl`` and the same numbers to ``events/``.

    Args:
        path: of ``log.jsonl``; records after ``step`` in it, left by a run that was killed before
            its next checkpoint, are dropped.
        events: folder for TensorBoard.
        step: training goes on from here.
    """

    def __init__(self, path: Path, events: Path, *, step: int) -> None:
        kept = [record for record in read_log(path) if record["step"] <= step]
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("".join(json.dumps(record) + "\n" for record in kept))
            self._file = path.open("a", encoding="utf-8")
        except OSError as error:
            raise TrainingError(f"cannot write {path}: {error.strerror or error}") from error
        self._writer = tf.summary.create_file_writer(str(events))

    def write(self, record: Mapping[str, Any]) -> None:
        """Appends ``record``, which has a ``step`` and numbers.

        Raises:
            TrainingError: the disk refuses.
        """
        try:
            self._file.write(json.dumps(dict(record)) + "\n")
            self._file.flush()
        except OSError as error:
            raise TrainingError(f"cannot write the log: {error.strerror or error}") from error
        with self._writer.as_default(step=record["step"]):
            for name, value in record.items():
                if name != "step":
                    tf.summary.scalar(name, value)

    def close(self) -> None:
        """Writes out what is buffered."""
        self._file.close()
        self._writer.close()


class SilentLog:
    """Takes what ``TrainingLog`` takes, and keeps nothing: another process writes."""

    def write(self, record: Mapping[str, Any]) -> None:
        """Does nothing."""

    def close(self) -> None:
        """Does nothing."""


Log = TrainingLog | SilentLog
