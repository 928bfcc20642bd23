"""What this machine grants to this process: CPU slots, by affinity mask and control group."""

import math
import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def machine_slots(cgroups: Path = CGROUPS) -> int:
    """Give how many CPUs this process may keep busy at once, at least 1."""
    affinity = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota = _quota(cgroups)
    return max(1, affinity if quota is None else min(affinity, math.ceil(quota)))


def share(slots: int, workers: int) -> int:
    """Divide slots among workers: each gets the same, at least 1."""
    return max(1, slots // max(1, workers))


def _quota(cgroups: Path) -> float | None:
    """CPUs that the control group grants, version 2 then 1; None: no limit, or not readable."""
    try:
        quota, period = (cgroups / "cpu.max").read_text().split()
        return None if quota == "max" else int(quota) / int(period)
    except (OSError, ValueError):
        pass
    try:
        quota_us = int((cgroups / "cpu" / "cpu.cfs_quota_us").read_text())
        period_us = int((cgroups / "cpu" / "cpu.cfs_period_us").read_text())
        return quota_us / period_us if quota_us > 0 else None
    except (OSError, ValueError):
        return None
