"""The number of cores this process may use."""

import os
from math import ceil
from pathlib import Path
from typing import Final

_QUOTA: Final = Path("/sys/fs/cgroup/cpu.max")  # "QUOTA PERIOD" in microseconds, or "max PERIOD": a container's CPU limit


def usable_cores(quota: Path = _QUOTA) -> int:
    """Return the number of cores this process may run on, or that a container's CPU limit allows if that is less.

    Source: Linux, Documentation/admin-guide/cgroup-v2.rst, cpu.max.
    """
    cores = len(os.sched_getaffinity(0))
    try:
        share, period = quota.read_text(encoding="ascii").split()
        return max(1, min(cores, ceil(int(share) / int(period))))
    except (OSError, ValueError, ZeroDivisionError):  # no such limit
        return cores
