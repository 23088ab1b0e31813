import sys

import pytest

from topicserve.worker.runtime.heap import bound_heap


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's own settings")
def test_the_c_library_is_told_to_keep_less() -> None:
    """It takes the settings; what they are worth benchmarks/memory.py measures."""
    assert bound_heap({})


@pytest.mark.parametrize("name", ["MALLOC_ARENA_MAX", "GLIBC_TUNABLES", "LD_PRELOAD"])
def test_what_the_user_has_set_stays(name: str) -> None:
    """Another allocator, or the user's own settings."""
    assert not bound_heap({name: "1"})
