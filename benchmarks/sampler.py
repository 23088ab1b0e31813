"""Runs topicserve while sampling where each of its threads spends CPU.

    python -m benchmarks.sampler REPORT worker --config worker.toml

The kernel counts every thread's CPU time; what a thread used between two samples is charged to the
Python stack that it has at the second. So waiting costs nothing, and threads of C libraries are
seen too. SIGUSR1 starts sampling, a second one writes the report.
"""

import signal
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

INTERVAL_SECONDS = 0.003
_TASKS = Path("/proc/self/task")
_OURS = "topicserve"


class Sampler:
    """Charges CPU nanoseconds to threads, functions and the functions that they were called by."""

    def __init__(self, report: Path) -> None:
        self._report = report
        self._threads: Counter[str] = Counter()
        self._own: Counter[str] = Counter()
        self._with_callees: Counter[str] = Counter()
        self._before: dict[int, int] = {}
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._run, name="sampler", daemon=True)

    def toggle(self, *_: Any) -> None:
        """Start, or stop and write the report."""
        if self._thread.ident is None:
            self._thread.start()
        else:
            self._done.set()

    def _run(self) -> None:
        while not self._done.is_set():
            self._sample()
            time.sleep(INTERVAL_SECONDS)
        self._report.write_text(self._text())

    def _sample(self) -> None:
        now = dict(_cpu_ns())
        frames = sys._current_frames()  # noqa: SLF001 - its name notwithstanding, it is documented
        python = {
            thread.native_id: (thread.name, frames.get(thread.ident or 0))
            for thread in threading.enumerate()
        }
        for task, cpu_ns in now.items():
            used = cpu_ns - self._before.get(task, cpu_ns)
            if used and task != self._thread.native_id:
                name, frame = python.get(task, (_native_name(task), None))
                self._charge(name, frame, used)
        self._before = now

    def _charge(self, thread: str, frame: FrameType | None, used: int) -> None:
        self._threads[thread] += used
        if frame is None:
            return
        self._own[f"{_place(frame)}:{frame.f_lineno}"] += used
        seen = set()
        while frame is not None:
            seen.add(_place(frame))
            frame = frame.f_back
        self._with_callees.update(dict.fromkeys(seen, used))

    def _text(self) -> str:
        total = self._threads.total() or 1
        sections = (
            ("threads", self._threads, 12),
            ("lines, by their own CPU and that of the C functions they call", self._own, 40),
            ("functions, with all that they call", self._with_callees, 60),
        )
        lines = [f"{total / 1e9:.2f} s of CPU"]
        for title, counter, rows in sections:
            lines += ["", title]
            lines += [f"{ns / total:7.1%}  {name}" for name, ns in counter.most_common(rows)]
        return "\n".join([*lines, ""])


def _cpu_ns() -> Iterator[tuple[int, int]]:
    for task in _TASKS.iterdir():
        try:
            yield int(task.name), int((task / "schedstat").read_text().split()[0])
        except OSError:
            continue  # it has just ended


def _native_name(task: int) -> str:
    try:
        return f"native {(_TASKS / str(task) / 'comm').read_text().strip()}"
    except OSError:
        return "native, ended"


def _place(frame: FrameType) -> str:
    path = frame.f_code.co_filename
    for root in (f"/{_OURS}/", "/site-packages/", "/lib/python3.11/"):
        _, found, after = path.rpartition(root)
        if found:
            path = f"{_OURS}/{after}" if root == f"/{_OURS}/" else after
            break
    return f"{path} {frame.f_code.co_qualname}"


def main() -> int:
    """Run topicserve with the arguments behind the report's path."""
    from topicserve.cli.main import main as topicserve_main

    signal.signal(signal.SIGUSR1, Sampler(Path(sys.argv[1])).toggle)
    return topicserve_main(sys.argv[2:])


if __name__ == "__main__":
    sys.exit(main())
