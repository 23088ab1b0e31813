"""Values of flags that are checked while the command line is read.

Each takes the flag's name and returns what argparse calls; a wrong value is a UsageError of one
line, where argparse's own errors come with the usage of the whole command.
"""

import math
from collections.abc import Callable

from topicserve.cli.errors import UsageError


def port(flag: str) -> Callable[[str], int]:
    """Take a TCP port; 0 stands for a free one."""
    return lambda typed: _within(flag, typed, 0, 65_535, "a port from 0 to 65535")


def count(flag: str) -> Callable[[str], int]:
    """Take a whole number from 1."""
    return lambda typed: _within(flag, typed, 1, 2**31 - 1, "a whole number from 1")


def number(flag: str, minimum: float) -> Callable[[str], float]:
    """Take a finite number from the minimum."""

    def read(typed: str) -> float:
        try:
            found = float(typed)
        except ValueError:
            found = math.nan
        if not minimum <= found < math.inf:
            raise UsageError(f"{flag}: must be a number from {minimum:g}, found {typed[:64]!r}")
        return found

    return read


def seconds(flag: str) -> Callable[[str], float]:
    """Take a finite number of seconds above 0."""

    def read(typed: str) -> float:
        try:
            number = float(typed)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            raise UsageError(f"{flag}: must be a number of seconds above 0, found {typed[:64]!r}")
        return number

    return read


def _within(flag: str, typed: str, low: int, high: int, wanted: str) -> int:
    # The length is checked first: int() refuses very long digits with an error of its own.
    if typed.isascii() and typed.isdigit() and len(typed) <= 10 and low <= int(typed) <= high:
        return int(typed)
    raise UsageError(f"{flag}: must be {wanted}, found {typed[:64]!r}")
