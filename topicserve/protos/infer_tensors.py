"""Tensors between numpy and the Open Inference Protocol's, without any other library.

A tensor comes with its elements one by one (typed contents) or as bytes (raw contents). What does
not fit together is refused, before anything of the size that a shape declares is made.
"""

from collections.abc import Iterable, Sequence
from functools import lru_cache
from itertools import chain
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.protos import open_inference_pb2 as pb
from topicserve.protos.tensors import (
    TensorProtoError,
    as_bytes,
    as_numbers,
    check_dimensions,
    checked_sizes,
    ml_dtype,
)

InferTensor = pb.ModelInferRequest.InferInputTensor | pb.ModelInferResponse.InferOutputTensor

_DTYPES = {
    "BOOL": "?",
    "UINT8": "u1",
    "UINT16": "<u2",
    "UINT32": "<u4",
    "UINT64": "<u8",
    "INT8": "i1",
    "INT16": "<i2",
    "INT32": "<i4",
    "INT64": "<i8",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    "BYTES": "O",
}
_NAMES = {np.dtype(code): name for name, code in _DTYPES.items()}
RAW_ONLY = ("FP16", "BF16")
"""Datatypes without typed contents."""

_FIELDS = {
    "BOOL": "bool_contents",
    "UINT8": "uint_contents",
    "UINT16": "uint_contents",
    "UINT32": "uint_contents",
    "UINT64": "uint64_contents",
    "INT8": "int_contents",
    "INT16": "int_contents",
    "INT32": "int_contents",
    "INT64": "int64_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    "BYTES": "bytes_contents",
}
_LENGTH_BYTES = 4


@lru_cache
def dtype_of(datatype: str) -> np.dtype[Any]:
    """Return numpy's dtype for one of the protocol's (BYTES: object), or raise TensorProtoError."""
    if datatype == "BF16":
        return ml_dtype("bfloat16")
    if datatype not in _DTYPES:
        known = ", ".join([*_DTYPES, "BF16"])
        raise TensorProtoError(f"datatype {datatype[:50]!r} is not one of {known}")
    return np.dtype(_DTYPES[datatype])


def datatype_of(dtype: np.dtype[Any]) -> str:
    """Return the protocol's name for a numpy dtype, or raise TensorProtoError."""
    if dtype.kind in "OSU":
        return "BYTES"
    if dtype.name == "bfloat16":
        return "BF16"
    found = _NAMES.get(dtype.newbyteorder("<"))
    if found is None:
        raise TensorProtoError(f"the protocol has no datatype for {dtype.name}")
    return found


def read_infer_tensors(
    tensors: Sequence[InferTensor], raw: Sequence[bytes]
) -> Iterable[tuple[str, NDArray[Any] | TensorProtoError]]:
    """Yield each tensor's name with its array, or with what is wrong with it.

    Arrays may be read-only and share the memory of the raw contents. Strings are an object array of
    bytes. Raises TensorProtoError where the raw contents are not one for each tensor.
    """
    if raw and len(raw) != len(tensors):
        raise TensorProtoError(f"{len(raw)} raw contents are given for {len(tensors)} tensors")
    for index, tensor in enumerate(tensors):
        try:
            yield tensor.name, _read(tensor, raw[index] if raw else None)
        except TensorProtoError as error:
            yield tensor.name, error


def to_raw_contents(array: NDArray[Any]) -> bytes:
    """Return the elements as bytes; TensorProtoError where an object array has other objects."""
    if array.dtype.kind in "OSU":
        strings = as_bytes(array.ravel().tolist())
        lengths = [len(one).to_bytes(_LENGTH_BYTES, "little") for one in strings]
        return b"".join(chain.from_iterable(zip(lengths, strings, strict=True)))
    if array.dtype.byteorder == ">":
        array = array.astype(array.dtype.newbyteorder("<"))
    return array.tobytes()


def set_contents(tensor: InferTensor, array: NDArray[Any]) -> None:
    """Set a tensor's elements one by one; TensorProtoError where the protocol cannot."""
    field = _FIELDS.get(tensor.datatype)
    if field is None:
        raise TensorProtoError(f"{tensor.datatype} has no typed contents, only raw ones")
    values = array.ravel().tolist()
    contents: Any = tensor.contents
    getattr(contents, field).extend(as_bytes(values) if tensor.datatype == "BYTES" else values)


def _read(tensor: Any, raw: bytes | None) -> NDArray[Any]:
    dtype = dtype_of(tensor.datatype)
    check_dimensions(len(tensor.shape))
    shape = checked_sizes(tuple(tensor.shape))
    size = prod(shape)
    fields = [field.name for field, _ in tensor.contents.ListFields()]
    if raw is None:
        return _typed(tensor, fields, size, dtype).reshape(shape)
    if fields:
        raise TensorProtoError("has both raw contents and typed ones")
    if dtype.hasobject:
        return np.fromiter(_split(raw, size), object, size).reshape(shape)
    if len(raw) != size * dtype.itemsize:
        raise TensorProtoError(
            f"has {len(raw)} bytes of raw contents; {tensor.datatype} of the shape {list(shape)} "
            f"needs {size * dtype.itemsize}"
        )
    # Whatever is not 0 is true, as in C; numpy must not see another bit pattern.
    if tensor.datatype == "BOOL":
        return np.not_equal(np.frombuffer(raw, np.uint8), 0).reshape(shape)
    return np.frombuffer(raw, dtype).reshape(shape)


def _typed(tensor: Any, fields: Sequence[str], size: int, dtype: np.dtype[Any]) -> NDArray[Any]:
    field = _FIELDS.get(tensor.datatype)
    if field is None:
        raise TensorProtoError(f"{tensor.datatype} must have raw contents")
    others = [one for one in fields if one != field]
    if others:
        raise TensorProtoError(f"{tensor.datatype} belongs in {field}, found {others[0]}")
    values = getattr(tensor.contents, field)
    if len(values) != size:
        raise TensorProtoError(f"{len(values)} values are given for a tensor of {size} elements")
    if dtype.hasobject:
        return np.fromiter(values, object, size)
    try:
        return as_numbers(values, dtype)
    except OverflowError as error:
        raise TensorProtoError(f"a value is no {tensor.datatype}: {error}") from None


def _split(raw: bytes, count: int) -> list[bytes]:
    """Return strings that have their length before them."""
    if count * _LENGTH_BYTES > len(raw):
        raise TensorProtoError(f"{len(raw)} bytes of raw contents are too few for {count} strings")
    strings = []
    start = 0
    for _ in range(count):
        begin = start + _LENGTH_BYTES
        start = begin + int.from_bytes(raw[start:begin], "little")
        strings.append(raw[begin:start])
    # A slice beyond the end is cut short, so the last end tells of any string that is.
    if start != len(raw):
        raise TensorProtoError(f"the strings take {start} bytes; the raw contents have {len(raw)}")
    return strings
