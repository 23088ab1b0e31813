"""Bodies of many rows that hold numbers and lists alone, told by a look at their beginning and end.

    {"instances": [[1, 2], ...]}           {"inputs": [[1, 2], ...]}
    {"instances": [{"x": [1, 2]}, ...]}    {"inputs": {"x": [[1, 2], ...]}}

They stay undecoded until their batch is known, which reads the numbers of all its records at once.
What is between is not looked at here and may be no JSON at all.
"""

import re
from functools import lru_cache
from typing import NamedTuple

from msgspec import Raw

from topicserve.wire.json_codec.text import count_byte

_OPENING = re.compile(
    rb'\s*\{\s*"(instances|inputs)"\s*:\s*(?:\{\s*"([^"\\]{1,256})"\s*:\s*)?\[\s*(?=[-\[\d])'
)
_OBJECTS = re.compile(rb'\s*\{\s*"instances"\s*:\s*\[\s*(\{"([^"\\]{1,256})":)')
# `++` goes back to none of half a million brackets, which would be remembered.
_OPENINGS = re.compile(rb"(?:\[\s*+)++")
_SPACE = b" \t\n\r"


class NumberRows(NamedTuple):
    """How a body holds its rows."""

    key: str
    name: str | None
    """The only input's, above the rows, or in each where these are objects."""
    in_objects: bool = False
    """Whether each row is an object of its input's name and value."""

    def rows_of(self, content: Raw) -> bytes:
        """Return the rows of a body, with commas between them; objects without their names."""
        body = bytes(content)
        if self.in_objects:
            opening = _OBJECTS.match(body)
            assert opening is not None
            return body[opening.start(1) : body.rindex(b"]")].replace(opening[1], b"{")
        opening = _OPENING.match(body)
        assert opening is not None
        return body[opening.end() : body.rindex(b"]")]


def number_rows(body: bytes) -> tuple[NumberRows, int] | None:
    """Return how a body holds rows of numbers, and how many if all are alike; None for others.

    Nothing else is in the body: that would need another quotation mark.
    """
    opening = _OPENING.match(body)
    if opening is None:
        return _number_objects(body)
    if body.find(b'"', opening.end()) >= 0:
        return None
    end = body.rfind(b"]")
    name = opening[2]
    if body[end + 1 :].translate(None, _SPACE) != (b"}" if name is None else b"}}"):
        return None
    kind = _kind(opening[1], name)
    rows = _count(body, opening.end(), end) if kind is not None else None
    return None if kind is None or rows is None else (kind, rows)


def _number_objects(body: bytes) -> tuple[NumberRows, int] | None:
    opening = _OBJECTS.match(body)
    if opening is None:
        return None
    rows = body.count(opening[1], opening.start(1))
    if count_byte(body, b'"', opening.start(1)) != 2 * rows:
        return None
    if body[body.rfind(b"]") + 1 :].translate(None, _SPACE) != b"}":
        return None
    kind = _kind(b"instances", opening[2], in_objects=True)
    return None if kind is None else (kind, rows)


@lru_cache(maxsize=256)
def _kind(key: bytes, name: bytes | None, *, in_objects: bool = False) -> NumberRows | None:
    if name is None:
        return NumberRows(key.decode(), None)
    if key == b"instances" and not in_objects:
        return None  # must be a list
    try:
        return NumberRows(key.decode(), name.decode(), in_objects)
    except UnicodeDecodeError:
        return None


def _count(body: bytes, start: int, end: int) -> int | None:
    """Return how many rows there are, from what the first has; None where that is no divisor."""
    openings = _OPENINGS.match(body, start, end)
    if openings is None:
        return count_byte(body, b",", start, end) + 1
    closing = body.find(b"]" * openings[0].count(b"["), start, end)
    if closing < 0:
        return None
    rows, rest = divmod(count_byte(body, b"[", start, end), count_byte(body, b"[", start, closing))
    return None if rest else rows
