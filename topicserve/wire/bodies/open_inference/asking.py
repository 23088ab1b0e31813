"""What a request of the protocol asks for, told from what it declares."""

from collections.abc import Iterable, Sequence
from itertools import islice
from math import prod

from topicserve.wire.bodies.asked import Asked
from topicserve.wire.errors import InvalidRecordError

MAX_TENSORS = 10_000
"""More than any model has: a value of a megabyte could declare half a million, of no bytes each."""

_MAX_DIMENSIONS = 64
# About what a string takes as an object; numbers have at most eight bytes.
_STRING_BYTES, _NUMBER_BYTES = 64, 8


def asked(
    size: int,
    tensors: Sequence[tuple[str, Sequence[int]]],
    outputs: Iterable[str],
    record_id: str | None,
    servable_name: str | None = None,
    model_version: str = "",
) -> Asked:
    """Return what is asked for by a value of so many bytes.

    `tensors` are the datatypes and shapes of the inputs, which may say anything. A version is a
    number, or else a label.
    """
    is_number = model_version.isascii() and model_version.isdecimal() and len(model_version) < 20
    return Asked(
        servable_name=servable_name or None,
        version=int(model_version) if is_number else None,
        label=None if is_number else model_version or None,
        output_filter=tuple(outputs),
        rows=next((_clamped(shape[0], size) for _, shape in tensors if len(shape)), 1),
        held_bytes=size + sum(_bytes_of(*one, size) for one in islice(tensors, MAX_TENSORS)),
        record_id=record_id or None,
    )


def check_count(field: str, count: int) -> None:
    """Raise InvalidRecordError for more tensors than any model has."""
    if count > MAX_TENSORS:
        raise InvalidRecordError(field, f"has {count} entries; {MAX_TENSORS} are possible")


def _bytes_of(datatype: str, shape: Sequence[int], size: int) -> int:
    # No element takes less than a byte of the value, whatever the shape says.
    elements = _clamped(prod(shape) if len(shape) <= _MAX_DIMENSIONS else size, size)
    return elements * (_STRING_BYTES if datatype == "BYTES" else _NUMBER_BYTES)


def _clamped(count: int, most: int) -> int:
    return max(min(count, most), 1)
