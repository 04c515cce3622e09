"""The records of ``log.jsonl``. Loads no TensorFlow."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def read_log(path: Path) -> list[dict[str, Any]]:
    """The records of ``path``, if there is such a file, in the order of their steps.

    A half-written last line is left out, and so is what training went back behind.
    """
    if not path.exists():
        return []
    records: list[dict[str, Any]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        try:
            record = json.loads(line)
        except ValueError:
            break
        while records and records[-1]["step"] > record["step"]:
            records.pop()
        records.append(record)
    return records
