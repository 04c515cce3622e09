"""Where the passes over the vocabulary lie, as source and compiled."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

SOURCE = Path(__file__).with_name("vocabulary.c")


def library_path() -> Path:
    """Where what was compiled of this source for this kind of machine lies, if it was.

    The name holds a digest of the source, so that what was compiled of another is never taken.
    """
    digest = hashlib.sha256(SOURCE.read_bytes()).hexdigest()[:16]
    machine = f"{platform.system()}-{platform.machine()}".lower()
    return SOURCE.with_name(f"vocabulary-{machine}-{digest}.so")
