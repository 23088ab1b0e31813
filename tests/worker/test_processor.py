import os
import threading
from pathlib import Path

import pytest

from topicserve.worker.processor import Processor, find_processor

needs_affinity = pytest.mark.skipif(
    not hasattr(os, "sched_setaffinity"), reason="threads cannot be told where to run here"
)
CORES = """\
cpu  700 0 300 9000 0 0 0 0 0 0
cpu0 100 20 30 8000 500 1 2 3 40 5
cpu1 600 0 300 1000 0 0 0 0 0 0
cpu2 0 0 0 0 0 0 0 0 0 0
intr 12345
"""


@needs_affinity
def test_a_core_is_busy_when_it_is_not_idle(tmp_path: Path) -> None:
    """Guests are counted in what is user's already, and waiting for a disk is no work."""
    (tmp_path / "stat").write_text(CORES)
    ticks = os.sysconf("SC_CLK_TCK")
    busy = Processor(cores=tmp_path / "stat").busy_seconds()
    assert busy == {0: (100 + 20 + 30 + 1 + 2 + 3) / ticks, 1: 900 / ticks}


@needs_affinity
def test_a_thread_s_time_is_read_behind_its_name(tmp_path: Path) -> None:
    """A name may hold blanks and brackets."""
    (tmp_path / "7").mkdir()
    fields = " ".join(str(number) for number in range(4, 53))
    (tmp_path / "7" / "stat").write_text(f"7 (a) (b c) S {fields}\n")
    ticks = os.sysconf("SC_CLK_TCK")
    # utime and stime are the fields 14 and 15.
    assert Processor(threads=tmp_path).thread_seconds(7) == (14 + 15) / ticks


@needs_affinity
def test_a_thread_that_has_ended_spends_nothing(tmp_path: Path) -> None:
    """Its directory is gone."""
    assert Processor(threads=tmp_path).thread_seconds(7) == 0


@needs_affinity
def test_this_machine_answers() -> None:
    """The real files, and a real thread."""
    processor = Processor()
    assert processor.allowed() <= processor.busy_seconds().keys()
    spent = processor.thread_seconds(threading.get_native_id())
    while processor.thread_seconds(threading.get_native_id()) == spent:
        pass  # works until it shows
    core = {max(processor.allowed())}
    found: list[frozenset[int]] = []

    def pinned() -> None:
        processor.pin(threading.get_native_id(), core)
        found.append(processor.allowed())

    thread = threading.Thread(target=pinned)
    thread.start()
    thread.join()
    assert found == [frozenset(core)]


def test_one_core_is_nothing_to_choose_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor is there anything to do where the system cannot be told."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3}, raising=False)
    monkeypatch.setattr(os, "sched_setaffinity", lambda *_: None, raising=False)
    assert find_processor() is None
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 4})
    assert find_processor() is not None
    monkeypatch.delattr(os, "sched_setaffinity")
    assert find_processor() is None
