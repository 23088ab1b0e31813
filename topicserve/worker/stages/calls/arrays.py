"""JSON values become arrays of a declared dtype, as strictly as TF Serving reads them.

TF Serving's rules (util/json_tensor.cc): an integer stands for a float, a float never for an
integer, a boolean only for a boolean; a float that is too large for its dtype is infinite. Floats
of 16 bits and less overflow at ordinary sizes, and are refused like integers out of range. Integers
keep all their bits: numbers are read by the declared dtype, never through numpy's guess of one.
"""

import re
import struct
from collections.abc import Sequence
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.errors import TopicserveError
from topicserve.servables.kinds.number_ranges import Number, in_dtype, limits_of, range_text
from topicserve.servables.kinds.servable import TensorSpec

Array = NDArray[Any]

_LONG_INTEGER = re.compile(rb"(?<![\d.eE+-])-?\d{19,}(?![\d.eE])")


class InvalidInputError(TopicserveError):
    """A record's rows do not fit the signature; the message names the input and the remedy."""


class OutOfRangeError(InvalidInputError):
    """A number is out of its dtype's range."""

    def __init__(self, number: Number, spec: TensorSpec, name: str, text: str = "") -> None:
        super().__init__(f"{name}: {range_text(number, spec.dtype, text)}")
        self._cause = number, spec, name

    def as_written(self, body: bytes | None) -> InvalidInputError:
        """Return the error with the number as it stands in the body of its record.

        The parser makes a float of an integer that no 64 bits hold.
        """
        number, spec, name = self._cause
        if type(number) is int or spec.dtype.kind not in "iu" or body is None:
            return self
        for digits in _LONG_INTEGER.finditer(body):
            if float(digits[0]) == number:
                return OutOfRangeError(number, spec, name, digits[0].decode())
        return _found(f"the float {number!r}", spec, name)


def read_array(
    values: Sequence[Any], spec: TensorSpec, name: str, *, may_hold_booleans: bool = True
) -> Array:
    """Return nested lists as an array of the declared dtype, in the lists' own shape.

    Strings and bytes become bytes in an array of dtype object. `may_hold_booleans` is False where
    the caller knows that there are none. Raises InvalidInputError naming the value at fault.
    """
    flat, shape = _flatten(values, name)
    kind = spec.dtype.kind
    if kind == "O":
        array = np.empty(len(flat), object)
        array[:] = [_to_bytes(item, name) for item in flat]
    elif kind == "b":
        if any(type(item) is not bool for item in flat):
            raise _fault(flat, spec, name)
        array = np.array(flat, spec.dtype)
    else:
        if may_hold_booleans and bool in set(map(type, flat)):
            raise _fault(flat, spec, name)
        array = _numbers(flat, spec, name)
    try:
        return array.reshape(shape)
    except ValueError:
        raise InvalidInputError(f"{name}: is nested too deeply") from None


def narrow(array: Array, spec: TensorSpec, name: str) -> Array:
    """Return numbers of 64 bits in the declared dtype; raises for what is out of its range."""
    if spec.dtype.kind not in "iu" and not is_narrow_float(spec):
        return array.astype(spec.dtype, copy=False)  # what is too large for it is infinite
    narrowed, lost = in_dtype(array, spec.dtype)
    if lost is not None:
        raise OutOfRangeError(lost, spec, name)
    return narrowed


def is_narrow_float(spec: TensorSpec) -> bool:
    """Return whether a dtype is of floats that overflow at ordinary sizes; kind V: TensorFlow's."""
    return spec.dtype.kind in "fV" and spec.dtype.itemsize < 4


def dtype_name(spec: TensorSpec) -> str:
    """Return what a dtype is called in messages."""
    return "strings" if spec.dtype == object else spec.dtype.name


def describe(item: Any) -> str:
    """Return what a JSON value is, for messages."""
    names = {
        bool: "a boolean",
        int: "a number",
        float: "a number",
        list: "a list",
        dict: "an object",
    }
    names |= {str: "a string", bytes: "base64"}
    return names.get(type(item), "null" if item is None else type(item).__name__)


def _flatten(values: Sequence[Any], name: str) -> tuple[list[Any], list[int]]:
    """Return the values that stand in lists of one shape, and the shape."""
    flat, shape = list(values), [len(values)]
    while flat and isinstance(flat[0], list):
        size = len(flat[0])
        if set(map(type, flat)) != {list} or set(map(len, flat)) != {size}:
            raise _ragged(name)
        flat = list(chain.from_iterable(flat))
        shape.append(size)
    return flat, shape


def _numbers(flat: list[Any], spec: TensorSpec, name: str) -> Array:
    # struct takes exactly what the format says, where numpy would convert: 1.5 to 1, "1" to 1.0.
    code = {"i": "q", "u": "Q"}.get(spec.dtype.kind, "d")
    content = bytearray(8 * len(flat))
    try:
        struct.pack_into(f"{len(flat)}{code}", content, 0, *flat)
    except (struct.error, OverflowError, TypeError):
        raise _fault(flat, spec, name) from None
    return narrow(np.frombuffer(content, code), spec, name)


def _fault(flat: list[Any], spec: TensorSpec, name: str) -> InvalidInputError:
    """Return the error of the first value that does not fit."""
    if any(isinstance(item, list) for item in flat):
        return _ragged(name)
    kind = spec.dtype.kind
    for item in flat:
        if kind == "b" and type(item) is bool:
            continue
        if kind == "b" or type(item) not in (int, float):
            return _found(describe(item), spec, name)
        if type(item) is float and kind in "iu":
            # The parser makes a float of an integer that no 64 bits hold.
            if item.is_integer() and abs(item) >= 2**63:
                return OutOfRangeError(item, spec, name)
            return _found(f"the float {item!r}", spec, name)
        if type(item) is int and not _fits(item, spec):
            return OutOfRangeError(item, spec, name)
    raise AssertionError("one of the values was refused")


def _fits(number: int, spec: TensorSpec) -> bool:
    if spec.dtype.kind in "iu":
        limits = limits_of(spec.dtype)
        return bool(limits.min <= number <= limits.max)
    try:
        float(number)
    except OverflowError:
        return False
    return True


def _found(what: str, spec: TensorSpec, name: str) -> InvalidInputError:
    return InvalidInputError(f"{name}: must be {dtype_name(spec)}, found {what}")


def _ragged(name: str) -> InvalidInputError:
    return InvalidInputError(f"{name}: the rows differ in shape, or a row is ragged")


def _to_bytes(item: Any, name: str) -> bytes:
    if isinstance(item, str):
        return item.encode(errors="surrogatepass")
    if isinstance(item, bytes):
        return item
    if isinstance(item, list):
        raise _ragged(name)
    raise InvalidInputError(f"{name}: must be strings, found {describe(item)}")
