"""Where the passes over the vocabulary lie, as sources and compiled."""

from __future__ import annotations

import hashlib
import platform
from pathlib import Path

_HERE = Path(__file__).parent


def sources() -> list[Path]:
    """What is compiled, and the headers it needs."""
    return sorted(path for path in _HERE.iterdir() if path.suffix in (".c", ".h"))


def library_path() -> Path:
    """Where what was compiled of these sources for this kind of machine lies, if it was.

    The name holds a digest of the sources, so that what was compiled of others is never taken.
    """
    digest = hashlib.sha256()
    for path in sources():
        content = path.read_bytes()
        digest.update(f"{path.name} {len(content)}\n".encode() + content)
    machine = f"{platform.system()}-{platform.machine()}".lower()
    return _HERE / f"kernel-{machine}-{digest.hexdigest()[:16]}.so"
