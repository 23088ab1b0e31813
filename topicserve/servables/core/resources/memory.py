"""Gives memory that was freed back to the system."""

import ctypes
import ctypes.util
from collections.abc import Callable
from functools import cache
from typing import cast


def release_freed_memory() -> None:
    """Trim the heap: the C library keeps what was freed for itself.

    After some swaps a process would seem to hold every version that it ever had. Python's garbage
    collector is left alone: it stops all threads, and a kind whose objects form cycles runs it
    itself.
    """
    _malloc_trim()(0)


@cache
def _malloc_trim() -> Callable[[int], object]:
    """Return glibc's malloc_trim, or what does nothing where there is none."""
    try:
        trim = ctypes.CDLL(ctypes.util.find_library("c")).malloc_trim
    except (AttributeError, OSError):
        return lambda _: None
    return cast("Callable[[int], object]", trim)
