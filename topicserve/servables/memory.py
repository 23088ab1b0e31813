"""Gives memory that was freed back to the system."""

import ctypes
import ctypes.util
import gc
from collections.abc import Callable
from functools import cache
from typing import cast


def release_freed_memory() -> None:
    """Break the cycles that keep an unloaded version alive, and trim the heap.

    Python and the C library keep what was freed for themselves; after some swaps a process would
    seem to hold every version it ever had.
    """
    gc.collect()
    _malloc_trim()(0)


@cache
def _malloc_trim() -> Callable[[int], object]:
    """Return glibc's malloc_trim, or what does nothing where there is none."""
    try:
        trim = ctypes.CDLL(ctypes.util.find_library("c")).malloc_trim
    except (AttributeError, OSError):
        return lambda _: None
    return cast("Callable[[int], object]", trim)
