"""Which Python a worker runs on (docs/adr/0016-cpython-assumptions.md)."""

import sys

from topicserve.cli.errors import UsageError


def check_interpreter() -> None:
    """Raise UsageError unless this is CPython with its global interpreter lock."""
    name = sys.implementation.name
    if name != "cpython":
        raise UsageError(f"a worker needs CPython, and this is {name}; use CPython")
    # There since 3.13; before, every CPython has the lock.
    if not getattr(sys, "_is_gil_enabled", lambda: True)():
        raise UsageError(
            "a worker needs the global interpreter lock, and this CPython runs without it; "
            "use a build with the lock, or set PYTHON_GIL=1"
        )
