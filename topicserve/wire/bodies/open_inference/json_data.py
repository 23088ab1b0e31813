"""A tensor's elements in the protocol's JSON: a list, flat or nested as its shape is."""

import re
from collections.abc import Iterable, Sequence
from math import prod
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from topicserve.protos.infer_tensors import dtype_of
from topicserve.protos.tensors import (
    TensorProtoError,
    as_numbers,
    check_dimensions,
    checked_sizes,
)
from topicserve.wire.json_codec.base64_text import decode_base64
from topicserve.wire.json_codec.values import whole_piece
from topicserve.wire.limits import shortened

BASE64 = "base64"
"""What MLServer calls the content type of strings that are base64."""

_NULL = type(None)
_NO_STRUCTURE = bytes(byte for byte in range(256) if byte not in b"[],")
_NESTED = re.compile(rb"\s*\[\s*\[")
_STRING = re.compile(rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"')
_INTEGER = re.compile(rb"(?<![\w.+-])-?\d++(?![\w.+])")
_SPACES = bytes.maketrans(b"[]", b"  ")


def read_data(
    data: bytes,
    datatype: str,
    sizes: Sequence[int],
    *,
    is_base64: bool = False,
    null_is_nan: bool = False,
) -> NDArray[Any]:
    """Return the tensor, or raise TensorProtoError for what is not of this datatype and shape."""
    dtype = dtype_of(datatype)
    check_dimensions(len(sizes))
    shape = checked_sizes(tuple(sizes))
    elements = _elements(data, shape)
    kinds = set(map(type, elements))
    if dtype.hasobject:
        _check_kinds(kinds, {str}, datatype)
        return _strings(elements, is_base64=is_base64).reshape(shape)
    if datatype == "BOOL":
        _check_kinds(kinds, {bool}, datatype)
        return np.fromiter(elements, dtype, len(elements)).reshape(shape)
    if dtype.kind in "iu":
        if kinds == {float} or kinds == {int, float}:  # one of more than 64 bits is a float
            _check_range(data, dtype, datatype)
        _check_kinds(kinds, {int}, datatype)
        return _integers(data, elements, dtype, datatype).reshape(shape)
    _check_kinds(kinds, {int, float, _NULL} if null_is_nan else {int, float}, datatype)
    if _NULL in kinds:
        elements = [np.nan if one is None else one for one in elements]
    return _floats(elements, dtype, datatype).reshape(shape)


def write_data(name: str, column: NDArray[Any]) -> tuple[bytes, bool]:
    """Return the elements as a flat list, and whether they are base64 because not all are text.

    Not-a-number and infinities, which JSON lacks, are null. ValueError for complex numbers.
    """
    flat = column.reshape(-1)
    if column.dtype.kind not in "OSU":
        return whole_piece(name, flat), False
    strings = [one.encode() if isinstance(one, str) else one for one in flat.tolist()]
    try:
        return orjson.dumps([one.decode() for one in strings]), False
    except UnicodeDecodeError:
        import base64

        return orjson.dumps([base64.b64encode(one).decode() for one in strings]), True


def _elements(data: bytes, shape: Sequence[int]) -> Sequence[Any]:
    """Return the elements of a list, which is flat, or nested exactly as the shape says."""
    is_nested = len(shape) > 1 and _NESTED.match(data) is not None
    try:
        found = orjson.loads(_flattened(data, shape) if is_nested else data)
    except orjson.JSONDecodeError as error:
        raise TensorProtoError(f"data cannot be read: {error}") from None
    if not isinstance(found, list):
        raise TensorProtoError("data must be a list")
    if len(found) != prod(shape):
        raise TensorProtoError(
            f"data has {len(found)} elements; the shape {list(shape)} has {prod(shape)}"
        )
    return found


def _flattened(data: bytes, shape: Sequence[int]) -> bytes:
    """Return the text of a nested list as that of a flat one; it must be valid JSON.

    Lists within lists cost ten times what is in them, and a value may consist of them.
    """
    rest, strings = data, []
    if b'"' in data:
        strings, rest = _STRING.findall(data), _STRING.sub(b"", data)
    structure = rest.translate(None, _NO_STRUCTURE)
    if len(structure) != _structure_length(shape) or structure != _structure(shape):
        raise TensorProtoError(f"data is neither flat nor nested as {list(shape)}")
    if strings:
        return b"[%b]" % b",".join(strings)
    # A space is no part of a number, so two of them never become one.
    return b"[%b]" % data.translate(_SPACES) if prod(shape) else b"[]"


def _structure_length(shape: Sequence[int]) -> int:
    """Return how long `_structure` is, without making it: a shape may say anything."""
    length = 0
    for size in reversed(shape):
        length = 2 + size * length + max(size - 1, 0)
    return length


def _structure(shape: Sequence[int]) -> bytes:
    """Return the brackets and commas of a list that is nested as the shape says."""
    inner = b""
    for size in reversed(shape):
        inner = b"[%b]" % b",".join([inner] * size)
    return inner


def _check_kinds(found: Iterable[type], allowed: set[type], datatype: str) -> None:
    others = sorted(_in_json(one) for one in set(found) - allowed)
    if others:
        raise TensorProtoError(f"data has {others[0]}, which is no {datatype}")


def _in_json(kind: type) -> str:
    names = {str: "a string", bool: "a boolean", int: "an integer", float: "a fraction"}
    return names.get(kind, "null" if kind is _NULL else "a list or an object")


def _integers(
    data: bytes, elements: Sequence[Any], dtype: np.dtype[Any], datatype: str
) -> NDArray[Any]:
    try:
        return as_numbers(elements, dtype)
    except OverflowError:
        _check_range(data, dtype, datatype)
        raise


def _check_range(data: bytes, dtype: np.dtype[Any], datatype: str) -> None:
    """Raise for the first integer in this JSON of numbers that the dtype does not hold."""
    bounds = np.iinfo(dtype)
    for one in _INTEGER.finditer(data):
        if not bounds.min <= int(one[0]) <= bounds.max:
            raise _out_of_range(one[0].decode(), datatype)


def _floats(elements: Sequence[Any], dtype: np.dtype[Any], datatype: str) -> NDArray[Any]:
    exact = as_numbers(elements, np.dtype(np.float64))
    with np.errstate(over="ignore"):
        found = exact.astype(dtype)
    infinite = np.isinf(found)
    if infinite.any():  # JSON itself has no infinity
        raise _out_of_range(str(elements[int(infinite.argmax())]), datatype)
    return found


def _out_of_range(number: str, datatype: str) -> TensorProtoError:
    return TensorProtoError(f"data has a number out of range of {datatype}: {shortened(number)}")


def _strings(elements: Sequence[str], *, is_base64: bool) -> NDArray[Any]:
    read = decode_base64 if is_base64 else str.encode
    found = np.empty(len(elements), object)
    try:
        found[:] = [read(one) for one in elements]
    except ValueError as error:
        raise TensorProtoError(f"data has a string that {error}") from None
    return found
