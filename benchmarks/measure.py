"""What a process and its children have used so far, from the kernel's own counters."""

from pathlib import Path
from typing import NamedTuple

import psutil

_KIB = 1024


class Usage(NamedTuple):
    """CPU since the start, user and system, and the largest resident memory so far."""

    cpu_seconds: float
    peak_rss_bytes: int


def usage(pid: int) -> Usage:
    """Return what a process and its living children have used together."""
    parent = psutil.Process(pid)
    family = [parent, *parent.children(recursive=True)]
    times = [process.cpu_times() for process in family]
    return Usage(
        sum(time.user + time.system for time in times),
        sum(peak_rss_bytes(process.pid) for process in family),
    )


def resident_bytes(pid: int) -> int:
    """Return what a process has in memory now."""
    return _status_bytes(pid, "VmRSS")


def peak_rss_bytes(pid: int) -> int:
    """Return the most that a process has had in memory, without its children."""
    return _status_bytes(pid, "VmHWM")


def _status_bytes(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * _KIB
    return 0
