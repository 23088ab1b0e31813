import subprocess
import sys

import pytest

from topicserve.worker.runtime.heap import MMAP_THRESHOLD_BYTES, bound_heap

# Takes and frees blocks as a model's layers do; prints the page faults of a block.
_FAULTS = """
import resource, sys
import numpy as np
from topicserve.worker.runtime.heap import bound_heap
assert bound_heap({})
size = int(sys.argv[1])
for measured in (False, True):
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(20):
        layers = np.ones(size, np.uint8), np.ones(size, np.uint8)
        del layers
print((resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before) // 40)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own settings")
def test_the_c_library_is_told_to_keep_less() -> None:
    """It takes the settings; what they are worth benchmarks/memory.py measures."""
    assert bound_heap({})


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD"])
def test_what_the_user_has_set_stays(name: str) -> None:
    """Another allocator, or the user's own settings."""
    assert not bound_heap({name: "1"})


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own settings")
def test_what_a_layer_frees_the_next_one_takes_without_page_faults() -> None:
    """Of 2 MiB, as 512 floats of 1,024 rows; what is larger than the threshold goes back."""
    assert page_faults_of(2 * 1024 * 1024) == 0
    assert page_faults_of(2 * MMAP_THRESHOLD_BYTES) > 0


def page_faults_of(size_bytes: int) -> int:
    """Return the page faults for each block, in a process of its own."""
    command = [sys.executable, "-c", _FAULTS, str(size_bytes)]
    return int(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
