"""Values of flags that are checked while the command line is read.

Each takes the flag's name and returns what argparse calls; a wrong value is a UsageError of one
line, where argparse's own errors come with the usage of the whole command.
"""

import math
import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from urllib.parse import urlsplit

from topicserve.cli.errors import UsageError
from topicserve.redact import redact_url
from topicserve.wire.rfc3339 import read_time

TIME_WANTED = "must be RFC 3339 with an offset, such as 2026-11-28T06:00:00Z, or an age such as 2h"
_AGE = re.compile(r"([0-9]{1,6})([smhd])", re.ASCII)
_UNITS = {"s": "seconds", "m": "minutes", "h": "hours", "d": "days"}


def port(flag: str) -> Callable[[str], int]:
    """Take a TCP port; 0 stands for a free one."""
    return lambda typed: _within(flag, typed, 0, 65_535, "a port from 0 to 65535")


def count(flag: str) -> Callable[[str], int]:
    """Take a whole number from 1."""
    return lambda typed: _within(flag, typed, 1, 2**31 - 1, "a whole number from 1")


def number(flag: str, minimum: float) -> Callable[[str], float]:
    """Take a finite number from the minimum, which is allowed itself."""

    def read(typed: str) -> float:
        try:
            found = float(typed)
        except ValueError:
            found = math.nan
        if not minimum <= found < math.inf:
            raise UsageError(f"{flag}: must be a number from {minimum:g}, found {typed[:64]!r}")
        return found

    return read


def seconds(flag: str, most: float = math.inf) -> Callable[[str], float]:
    """Take a finite number of seconds above 0, up to a most; fractions are allowed."""

    def read(typed: str) -> float:
        try:
            number = float(typed)
        except ValueError:
            number = math.nan
        if not 0 < number < math.inf:
            raise UsageError(f"{flag}: must be a number of seconds above 0, found {typed[:64]!r}")
        if number > most:
            raise UsageError(f"{flag}: must be at most {most:.0f} seconds, found {typed[:64]!r}")
        return number

    return read


def http_url(flag: str) -> Callable[[str], str]:
    """Take the address of an HTTP server, without a slash at its end."""

    def read(typed: str) -> str:
        try:
            parts = urlsplit(typed)
            is_address = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
        except ValueError:  # a port that is none, or half an IPv6 address
            is_address = False
        if not is_address or not typed.isprintable() or " " in typed:
            raise UsageError(f"{flag}: must be http://HOST:PORT, found {redact_url(typed)[:64]}")
        return typed.rstrip("/")

    return read


def time_or_age(flag: str) -> Callable[[str], datetime]:
    """Take a time in RFC 3339, or an age such as 15m, which is so long before now.

    The result has a time zone. Ages are in whole s, m, h or d.
    """
    return lambda typed: read_time_or_age(flag, typed, TIME_WANTED)


def read_time_or_age(flag: str, typed: str, wanted: str) -> datetime:
    """Return the time; UsageError says what is wanted instead.

    For flags that take other things besides: they try those first.
    """
    age = _AGE.fullmatch(typed)
    try:
        if age is not None:
            return datetime.now(UTC) - timedelta(**{_UNITS[age[2]]: int(age[1])})
        return read_time(typed)
    except (ValueError, OverflowError):
        raise UsageError(f"{flag}: {wanted}; found {typed[:64]!r}") from None


def _within(flag: str, typed: str, low: int, high: int, wanted: str) -> int:
    # The length is checked first: int() refuses very long digits with an error of its own.
    if typed.isascii() and typed.isdigit() and len(typed) <= 10 and low <= int(typed) <= high:
        return int(typed)
    raise UsageError(f"{flag}: must be {wanted}, found {typed[:64]!r}")
