"""Where the HTTP workers of one service count, each in files of its own.

prometheus_client looks at a variable when it is loaded, and only then: so this is its own module.
"""

from __future__ import annotations

import os
from pathlib import Path

_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"


def count_into(directory: Path) -> None:
    """Has this process and its children count in ``directory``; before any metric is loaded."""
    directory.mkdir(exist_ok=True)
    os.environ[_VARIABLE] = str(directory)


def counting_directory() -> str | None:
    """Where this process counts; None: only for itself."""
    return os.environ.get(_VARIABLE)
