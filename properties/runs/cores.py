"""How many processes a machine has room for."""

import math
import os
from pathlib import Path

# Microseconds of a core in a period of so many, or "max" in place of the first.
_QUOTA = Path("/sys/fs/cgroup/cpu.max")


def cores() -> int:
    """Cores that this process may use, by its affinity and, in a container, by the quota of its control group."""
    allowed = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = _QUOTA.read_text().split()
        return min(allowed, math.ceil(int(quota) / int(period)))
    except (OSError, ValueError):  # There is none, and none is set.
        return allowed
