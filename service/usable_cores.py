"""How many cores this process may use: by its affinity and the quota of its control group."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

_GROUPS_OF_PROCESS = Path("/proc/self/cgroup")
_GROUPS = Path("/sys/fs/cgroup")


def usable_cores(groups_of_process: Path = _GROUPS_OF_PROCESS, groups: Path = _GROUPS) -> int:
    """Whole cores, at least 1: those it may run on, or fewer where their time is rationed.

    Args:
        groups_of_process: the kernel's list of the control groups the process is in.
        groups: where control groups are mounted, of version 1 or 2.
    """
    cores = len(os.sched_getaffinity(0))
    return max(1, min([cores, *map(int, _quotas(groups_of_process, groups))]))


def _quotas(groups_of_process: Path, groups: Path) -> Iterator[float]:
    """Cores' worth of time that each of the process's groups may have, where it is limited."""
    try:
        lines = groups_of_process.read_text("utf-8").splitlines()
    except OSError:
        return
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers and "cpu" not in controllers.split(","):
            continue
        mount = groups / "cpu" if controllers else groups
        # In a container the path may be the host's, of which only the mount's root is seen.
        for folder in (Path(path), *Path(path).parents):
            quota = _quota(mount / folder.relative_to("/"))
            if quota is not None:
                yield quota


def _quota(group: Path) -> float | None:
    """Version 2 writes "200000 100000" or "max 100000" into one file, version 1 two numbers."""
    try:
        if (group / "cpu.max").exists():
            quota, period = (group / "cpu.max").read_text("ascii").split()
        else:
            quota = (group / "cpu.cfs_quota_us").read_text("ascii")
            period = (group / "cpu.cfs_period_us").read_text("ascii")
        return float(quota) / float(period) if float(quota) > 0 else None
    except (OSError, ValueError):
        return None
