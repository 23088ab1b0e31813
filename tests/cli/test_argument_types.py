"""Flags whose values are checked while they are read."""

from collections.abc import Callable

import pytest

from topicserve.cli.argument_types import count, http_url, number, port, seconds
from topicserve.cli.errors import UsageError


@pytest.mark.parametrize(
    ("kind", "typed"),
    [
        *((port, typed) for typed in ("-1", "65536", "x", "", "1.0", "9" * 5000, "\u0663")),
        *((count, typed) for typed in ("0", "-1", "x", "1e3")),
        *((seconds, typed) for typed in ("0", "-1", "nan", "inf", "x", "")),
    ],
)
def test_a_wrong_value_is_refused_with_what_it_must_be(
    kind: Callable[[str], Callable[[str], float]], typed: str
) -> None:
    """Before anything is started or connected to."""
    with pytest.raises(UsageError, match=r"^--flag: must be a .*, found"):
        kind("--flag")(typed)


def test_right_values_are_taken() -> None:
    """At their limits."""
    assert [port("")("0"), port("")("65535"), count("")("1"), seconds("")("0.5")] == [
        0,
        65535,
        1,
        0.5,
    ]


@pytest.mark.parametrize("typed", ["0.009", "-1", "nan", "inf", "x", ""])
def test_a_number_below_its_minimum_is_refused(typed: str) -> None:
    """And what is no finite number."""
    assert number("--rate", 0.01)("0.01") == 0.01
    with pytest.raises(UsageError, match=r"^--rate: must be a number from 0.01, found"):
        number("--rate", 0.01)(typed)


@pytest.mark.parametrize(
    "typed",
    [
        "nonsense",
        "ftp://h",
        "http://",
        "http://[::1",
        "http://h:99999",
        "http://h:x",
        "",
        "http://a b",
    ],
)
def test_what_is_no_http_address_is_refused(typed: str) -> None:
    """With what it must be."""
    with pytest.raises(UsageError, match=r"^--worker: must be http://HOST:PORT, found"):
        http_url("--worker")(typed)


def test_an_http_address_is_taken_without_its_last_slash() -> None:
    """Paths are added to it."""
    taken = [http_url("")(url) for url in ("http://h:80/", "https://[::1]:8080", "http://h/a/")]

    assert taken == ["http://h:80", "https://[::1]:8080", "http://h/a"]


def test_seconds_may_have_a_most() -> None:
    """A number that a server would refuse record by record is refused when flags are read."""
    read = seconds("--ttl-seconds", 100.0)

    assert read("100") == 100.0
    with pytest.raises(UsageError, match="--ttl-seconds: must be at most 100 seconds"):
        read("1e300")
