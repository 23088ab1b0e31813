"""Rows of JSON numbers whose shape is known beforehand, read without a Python object a number.

simdjson copies numbers from its own tape into a buffer, for about half of what making Python lists
and an array of them costs. It flattens whatever is nested, so the brackets and commas of each row
are compared with those of its shape.
"""

import threading
from collections.abc import Sequence
from functools import lru_cache
from math import prod
from typing import Any

import numpy as np
import simdjson
from numpy.typing import NDArray

from topicserve.wire.json_codec.text import LONE_ROW_CLOSING, LONE_ROW_OPENING

_COMMA, _OPENING, _CLOSING = b",[]"
_ROW = slice(len(LONE_ROW_OPENING), -len(LONE_ROW_CLOSING))
_WIDEST: dict[str, Any] = {"i": np.int64, "u": np.uint64}
# What is parsed at once: it and its tape stay in the processor's cache, and the parser, which
# keeps room for the longest text it ever read, some 14 bytes a byte, stays small.
_CHUNK_BYTES = 256 * 1024


# One for all threads: it keeps its room, and parses with the interpreter's lock held anyway.
_parser = simdjson.Parser()
_parsing = threading.Lock()


def read_number_rows(
    contents: Sequence[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]
) -> NDArray[Any] | None:
    """Return lone rows (`json_body.lone_row`) as an array [rows, *shape].

    Of that dtype, but 64 bits wide where it is of integers. None where any content is something
    else: of another shape, no JSON, or no integer of 64 bits where one is wanted. Which one it is
    and why, the caller must find out.
    """
    skeleton = _skeleton(shape)
    step = max(_CHUNK_BYTES // max(map(len, contents)), 1)
    array = np.empty((len(contents), prod(shape)), _WIDEST.get(dtype.kind, dtype))
    try:
        for start in range(0, len(contents), step):
            rows = [content[_ROW] for content in contents[start : start + step]]
            text = b"[%b]" % b",".join(rows)
            if not _are_of_one_shape(rows, text, skeleton):
                return None
            array[start : start + step] = _read_numbers(text, dtype.kind).reshape(len(rows), -1)
    except (ValueError, TypeError, RuntimeError):  # the last for an integer of over 64 bits
        return None
    return array.reshape(len(contents), *shape)


def _are_of_one_shape(rows: Sequence[bytes], text: bytes, skeleton: NDArray[np.uint8]) -> bool:
    """Return whether each row has just these brackets and commas, and a comma or the end follows.

    `text` is the list of the rows. Strings may hold commas, too, but are no numbers.
    """
    content = np.frombuffer(text, np.uint8)
    structure = (content == _COMMA) | (content == _OPENING) | (content == _CLOSING)
    places = np.flatnonzero(structure)[1:]
    if places.size != len(rows) * skeleton.size:
        return False
    by_row = places.reshape(len(rows), skeleton.size)
    ends = np.cumsum([len(row) + 1 for row in rows])
    found = content[by_row]
    found[-1, -1] = _COMMA  # the list's own end stands for the comma that follows a row
    return bool((by_row[:, -1] == ends).all() and (found == skeleton).all())


def _read_numbers(text: bytes, kind: str) -> NDArray[Any]:
    code = kind if kind in _WIDEST else "d"
    with _parsing:
        document: Any = _parser.parse(text)
        numbers = document.as_buffer(of_type=code)
        del document  # the parser refuses to read on while one of its documents is there
    return np.frombuffer(numbers, _WIDEST.get(kind, np.float64))


def count_items(text: bytes) -> int | None:
    """Return how many items a JSON list has, without making them; None where it cannot be told."""
    try:
        with _parsing:
            document: Any = _parser.parse(text)
            items = len(document) if isinstance(document, simdjson.Array) else None
            del document
            return items
    except (ValueError, RuntimeError):  # no JSON, or a number that no 64 bits hold
        return None


@lru_cache(maxsize=64)
def _skeleton(shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """Return the brackets and commas of a row of that shape, and the comma that follows it."""
    skeleton = b""
    for size in reversed(shape):
        skeleton = b"[%b]" % b",".join([skeleton] * size)
    return np.frombuffer(skeleton + b",", np.uint8)
