"""Rows of JSON numbers whose shape is known beforehand, read without a Python object a number.

simdjson copies numbers from its own tape into a buffer, for about half of what making Python lists
and an array of them costs. It flattens whatever is nested, so the brackets and commas of each row
are compared with those of its shape.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import Any

import numpy as np
import simdjson
from numpy.typing import NDArray

from topicserve.wire.json_codec.text import LONE_ROW_CLOSING, LONE_ROW_OPENING

_COMMA, _OPENING, _CLOSING = b",[]"
_BRACES = b"{}"
_WITHOUT_BRACES = bytes.maketrans(_BRACES, b"  ")
_ROW = slice(len(LONE_ROW_OPENING), -len(LONE_ROW_CLOSING))
_WIDEST: dict[str, Any] = {"i": np.int64, "u": np.uint64}
# What is parsed at once: it and its tape stay in the processor's cache, and the parser, which
# keeps room for the longest text it ever read, some 14 bytes a byte, stays small.
_CHUNK_BYTES = 256 * 1024


# One for all threads: it keeps its room, and parses with the interpreter's lock held anyway.
_parser = simdjson.Parser()
_parsing = threading.Lock()


def read_number_rows(
    contents: Sequence[Any],
    rows_of: Callable[[Any], bytes],
    shape: tuple[int, ...],
    dtype: np.dtype[Any],
    *,
    in_objects: bool = False,
) -> tuple[NDArray[Any], list[int]] | None:
    """Return the rows of all contents as an array [rows, *shape], and how many each one has.

    `rows_of` gives a content's rows, with commas between them, and each in braces where it is an
    object, whose name is left out. The array is of that dtype, but 64
    bits wide where it is of integers. None where any content is something else: of another shape,
    no JSON, or no integer of 64 bits where one is wanted. Which one it is and why, the caller must
    find out.
    """
    skeleton = _skeleton(shape, in_objects)
    arrays, counts = [], []
    try:
        for parts in _chunks(map(rows_of, contents)):
            text = b"[%b]" % b",".join(parts)
            found = _count_rows(parts, text, skeleton)
            if found is None:
                return None
            if in_objects:
                text = text.translate(_WITHOUT_BRACES)
            numbers = _read_numbers(text, dtype.kind).reshape(sum(found), *shape)
            arrays.append(numbers.astype(_WIDEST.get(dtype.kind, dtype), copy=False))
            counts += found
    except (ValueError, TypeError, RuntimeError):  # the last for an integer of over 64 bits
        return None
    # Not what the parser gave, which is read-only.
    return np.concatenate(arrays), counts


def _chunks(parts: Iterable[bytes]) -> Iterator[list[bytes]]:
    """Yield what is parsed at once."""
    chunk: list[bytes] = []
    size = 0
    for part in parts:
        size += len(part)
        if chunk and size > _CHUNK_BYTES:
            yield chunk
            chunk, size = [], len(part)
        chunk.append(part)
    yield chunk


def lone_row_of(content: bytes) -> bytes:
    """Return the row of a `json_codec.body.lone_row`."""
    return content[_ROW]


def _count_rows(
    parts: Sequence[bytes], text: bytes, skeleton: NDArray[np.uint8]
) -> list[int] | None:
    """Return how many rows each part has; None unless all have just these brackets and commas.

    `text` is the list of the parts' rows. A comma or the end follows each row, and a part ends with
    a row. Strings may hold commas, too, but are no numbers.
    """
    content = np.frombuffer(text, np.uint8)
    structure = (content == _COMMA) | (content == _OPENING) | (content == _CLOSING)
    if skeleton[0] == _BRACES[0]:
        structure |= (content == _BRACES[0]) | (content == _BRACES[1])
    places = np.flatnonzero(structure)[1:]
    if places.size % skeleton.size:
        return None
    by_row = places.reshape(-1, skeleton.size)
    found = content[by_row]
    found[-1, -1] = _COMMA  # the list's own end stands for the comma that follows a row
    if not (found == skeleton).all():
        return None
    ends = np.cumsum([len(part) + 1 for part in parts])
    rows_before = np.searchsorted(by_row[:, -1], ends)
    if rows_before[-1] != len(by_row) - 1 or (by_row[rows_before, -1] != ends).any():
        return None
    counts: list[int] = np.diff(rows_before, prepend=-1).tolist()
    return counts


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
def _skeleton(shape: tuple[int, ...], in_objects: bool) -> NDArray[np.uint8]:
    """Return the brackets and commas of a row of that shape, and the comma that follows it."""
    skeleton = b""
    for size in reversed(shape):
        skeleton = b"[%b]" % b",".join([skeleton] * size)
    if in_objects:
        skeleton = b"{%b}" % skeleton
    return np.frombuffer(skeleton + b",", np.uint8)
