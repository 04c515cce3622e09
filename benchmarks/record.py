"""What every benchmark returns: ``Result``; tables of them for people, and JSON for the record."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import groupby
from pathlib import Path
from typing import Any

_LIBRARIES = ("ai-edge-litert", "numpy", "flask", "gunicorn", "tensorflow", "keras", "torch")


@dataclass(frozen=True, kw_only=True)
class Result:
    """One figure, measured several times.

    Attributes:
        benchmark: which one measured it, e.g. "engine".
        case: what was measured, e.g. "32 rows, top_k 40".
        metric: what the values are, with their unit, e.g. "tokens/s".
        values: one for each repetition, in order.
        shares: the values as parts of ``share_of``, each of the same repetition if there is one.
        share_of: what ``shares`` refers to; empty where there are none.
    """

    benchmark: str
    case: str
    metric: str
    values: tuple[float, ...]
    shares: tuple[float, ...] = ()
    share_of: str = ""

    @property
    def median(self) -> float:
        """The median of the values."""
        return statistics.median(self.values)

    @property
    def share(self) -> float | None:
        """The median of the shares, if there are any."""
        return statistics.median(self.shares) if self.shares else None

    def to_dict(self) -> dict[str, Any]:
        """Ready for JSON."""
        return asdict(self) | {"median": self.median, "share": self.share}


def find_median(results: Iterable[Result], case: str, metric: str = "tokens/s") -> float | None:
    """The median of the first result of that case and metric, if it was measured."""
    found = (r.median for r in results if (r.case, r.metric) == (case, metric))
    return next(found, None)


def percentile(values: Sequence[float], percent: int) -> float:
    """The smallest value that ``percent`` of the values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, -(-len(ordered) * percent // 100) - 1)]


def print_tables(results: Sequence[Result]) -> None:
    """One table for each benchmark."""
    for name, group in groupby(results, lambda result: result.benchmark):
        print(f"\n{name:<44}{'median':>12}{'least':>12}{'most':>12}  share")
        for result in group:
            numbers = (result.median, min(result.values), max(result.values))
            share = "" if result.share is None else f"{result.share:5.0%} of {result.share_of}"
            print(f"  {result.case:<42}" + "".join(f"{_short(n):>12}" for n in numbers), end="")
            print(f"  {result.metric:<18} {share}")


def describe_machine() -> dict[str, Any]:
    """Processor, cores, memory, versions, and how busy the machine is just now."""
    return {
        "processor": _processor(),
        "cores": os.cpu_count(),
        "vector_instructions": _vector_instructions(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "libraries": {name: _version(name) for name in _LIBRARIES},
        "load_average_before": load_average(),
    }


def machine_title(machine: Mapping[str, Any]) -> str:
    """Processor, cores and load of ``describe_machine()`` in one line."""
    return (
        f"{machine['processor']}, {machine['cores']} cores, load {machine['load_average_before']}"
    )


def load_average() -> tuple[float, float, float]:
    """Processes that run or want to, in the mean over the last 1, 5 and 15 minutes."""
    one, five, fifteen = os.getloadavg()
    return round(one, 2), round(five, 2), round(fifteen, 2)


def _short(number: float) -> str:
    return f"{number:,.0f}" if abs(number) >= 100 else f"{number:.3g}"


def _version(distribution: str) -> str | None:
    try:
        return metadata.version(distribution)
    except metadata.PackageNotFoundError:
        return None


def _processor() -> str:
    return _cpuinfo("model name") or platform.machine()


def _vector_instructions() -> list[str]:
    flags = _cpuinfo("flags").split()
    wanted = ("avx2", "fma", "avx512f", "avx512_vnni", "avx512_bf16", "amx_int8")
    return [flag for flag in wanted if flag in flags]


def _cpuinfo(key: str) -> str:
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf-8").splitlines() if file.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith(key)), "")
