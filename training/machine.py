"""What made a bundle: the processor and the version of the code, for its provenance."""

from __future__ import annotations

import os
import platform
from importlib import metadata
from pathlib import Path


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
