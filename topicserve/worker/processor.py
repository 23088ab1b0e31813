"""What the operating system says and does about processor cores; Linux only."""

import os
from collections.abc import Set as AbstractSet
from pathlib import Path

# Fields of a core's line in proc_stat(5).
_KINDS_OF_TIME = 8
_IDLE, _IOWAIT = 3, 4
# Fields of a thread's line in proc_pid_stat(5), counted from behind its name.
_USER, _SYSTEM = 11, 12


class Processor:
    """The cores that this process may use, how busy they are, and which thread may run where."""

    def __init__(
        self, cores: Path = Path("/proc/stat"), threads: Path = Path("/proc/self/task")
    ) -> None:
        self._cores = cores
        self._threads = threads
        self._ticks_per_second = os.sysconf("SC_CLK_TCK")

    def allowed(self) -> frozenset[int]:
        """Return the cores that the calling thread may run on."""
        return frozenset(os.sched_getaffinity(0))

    def pin(self, thread_id: int, cores: AbstractSet[int]) -> None:
        """Let a thread run on these cores alone.

        Raises ProcessLookupError when it has ended, and OSError for cores that it must not have.
        """
        os.sched_setaffinity(thread_id, cores)

    def busy_seconds(self) -> dict[int, float]:
        """Return how long each core has worked since the start, for whomever it was.

        Cores of which the system tells nothing are left out. Raises OSError and ValueError.
        """
        busy = {}
        for line in self._cores.read_text().splitlines():
            name, *ticks = line.split()
            if not name.startswith("cpu") or name == "cpu":
                continue
            spent = [int(tick) for tick in ticks[:_KINDS_OF_TIME]]
            if any(spent):
                worked = sum(spent) - sum(spent[_IDLE : _IOWAIT + 1])
                busy[int(name.removeprefix("cpu"))] = worked / self._ticks_per_second
        return busy

    def thread_seconds(self, thread_id: int) -> float:
        """Return how long a thread of this process has worked; 0 when it has ended."""
        try:
            line = (self._threads / str(thread_id) / "stat").read_text()
        except OSError:
            return 0.0
        fields = line.rpartition(")")[2].split()
        return (int(fields[_USER]) + int(fields[_SYSTEM])) / self._ticks_per_second


def find_processor() -> Processor | None:
    """Return the processor; None where threads cannot be told where to run, or not to any use."""
    if not hasattr(os, "sched_setaffinity"):
        return None
    processor = Processor()
    return processor if len(processor.allowed()) > 1 else None
