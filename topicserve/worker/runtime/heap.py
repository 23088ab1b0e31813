"""How the C library keeps the memory that the worker has freed.

Two costs are weighed. glibc gives each thread a heap of its own, and learns to keep blocks of up to
32 MiB in it. With a few threads that take turns at records of a megabyte, each kept what it ever
needed: a worker held 297 MiB more than when idle, where 106 are enough
(`python -m benchmarks.memory --only "rows of one digit"`). But memory that goes back to the system
at every free comes as page faults at the next allocation: for a model whose layers answer 2 MiB a
batch these were a third of the worker's CPU (`python -m benchmarks.heavy --only "512, protobuf"`).
"""

import ctypes
import os
from collections.abc import Mapping

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD, _M_ARENA_MAX = -1, -3, -8
ARENAS = 3
"""Most threads take turns for the interpreter's lock and can share a heap; librdkafka's do not.
With two heaps a record costs a twentieth more CPU (`python -m benchmarks.kinds --only ONNX`)."""
MMAP_THRESHOLD_BYTES = 8 * 1024 * 1024
"""Larger blocks go back to the system when they are freed: 1,024 rows of 1,024 floats stay."""
TRIM_THRESHOLD_BYTES = 12 * 1024 * 1024
"""What a heap may keep free at its end: a layer's input and output."""
_OWN_SETTINGS = (
    "MALLOC_ARENA_MAX",
    "MALLOC_MMAP_THRESHOLD_",
    "MALLOC_TRIM_THRESHOLD_",
    "GLIBC_TUNABLES",
    "LD_PRELOAD",
)


def bound_heap(environment: Mapping[str, str] = os.environ) -> bool:
    """Have the C library keep less; False where it is another one, or was told what to do.

    To be called before the threads start: what they have already they keep.
    """
    if any(environment.get(name) for name in _OWN_SETTINGS):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError):  # macOS, musl
        return False
    settings = (
        (_M_ARENA_MAX, ARENAS),
        (_M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES),
        (_M_TRIM_THRESHOLD, TRIM_THRESHOLD_BYTES),
    )
    return all(mallopt(name, value) == 1 for name, value in settings)
