"""How many threads a session has, and what they do when there is nothing to do."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servables.onnx_files import echoes, save
from topicserve.servables.kinds.onnx import runtime
from topicserve.servables.kinds.onnx.options import OnnxOptions

CHECKOUT = Path(__file__).parents[4]
COUNT = """
import os, sys
from topicserve.servables.kinds.onnx.onnx_model import OnnxModel
from topicserve.servables.kinds.onnx.options import OnnxOptions
for threads in (1, 5, None):
    before = len(os.listdir("/proc/self/task"))
    model = OnnxModel.load(sys.argv[1], OnnxOptions(session_threads=threads))
    print(len(os.listdir("/proc/self/task")) - before)
    model.close()
"""


@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_session_threads_are_the_servables_own(tmp_path: Path) -> None:
    """The calling thread is one of them; by default there is one a core."""
    path = save(echoes(x=["batch"]), tmp_path)

    done = subprocess.run(
        [sys.executable, "-c", COUNT, path],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
        timeout=150,
    )

    cores = len(os.sched_getaffinity(0))
    assert [int(line) for line in done.stdout.split()] == [0, 4, cores - 1]


def test_threads_wait_without_spinning_and_memory_is_not_kept() -> None:
    """What a session is opened with."""
    settings = runtime._settings(OnnxOptions())

    for pool in ("intra_op", "inter_op"):
        assert settings.get_session_config_entry(f"session.{pool}.allow_spinning") == "0"
    assert (settings.enable_cpu_mem_arena, settings.enable_mem_pattern) == (False, False)
