"""Tensors between numpy and TensorFlow's TensorProto, without TensorFlow.

For the wire's protobuf codec and for kinds that speak protobuf. dtypes that TensorFlow and numpy
both have go both ways; a tensor that TensorFlow would read in part is refused.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.errors import TopicserveError
from topicserve.protos import tensor_pb2 as pb

MAX_REPEATED_BYTES = 256 * 1024 * 1024
"""The most that one repeated value may grow to: a record of 20 bytes could declare any shape."""

MAX_DIMENSIONS = 64
"""As many as numpy has."""

_DTYPES = {
    pb.DT_FLOAT: "<f4",
    pb.DT_DOUBLE: "<f8",
    pb.DT_INT32: "<i4",
    pb.DT_UINT8: "u1",
    pb.DT_INT16: "<i2",
    pb.DT_INT8: "i1",
    pb.DT_STRING: "O",
    pb.DT_COMPLEX64: "<c8",
    pb.DT_INT64: "<i8",
    pb.DT_BOOL: "?",
    pb.DT_UINT16: "<u2",
    pb.DT_COMPLEX128: "<c16",
    pb.DT_HALF: "<f2",
    pb.DT_UINT32: "<u4",
    pb.DT_UINT64: "<u8",
}
# numpy has no such types of its own: the library that TensorFlow brings along adds them.
_ML_DTYPES = {
    pb.DT_BFLOAT16: "bfloat16",
    pb.DT_FLOAT8_E5M2: "float8_e5m2",
    pb.DT_FLOAT8_E4M3FN: "float8_e4m3fn",
    pb.DT_FLOAT8_E4M3FNUZ: "float8_e4m3fnuz",
    pb.DT_FLOAT8_E4M3B11FNUZ: "float8_e4m3b11fnuz",
    pb.DT_FLOAT8_E5M2FNUZ: "float8_e5m2fnuz",
}
_ENUM_BY_CODE = {np.dtype(code): enum for enum, code in _DTYPES.items()}
_ENUM_BY_NAME = {name: enum for enum, name in _ML_DTYPES.items()}

# Which list holds the values, and as what they lie in it.
_FIELDS = {
    pb.DT_FLOAT: "float_val",
    pb.DT_DOUBLE: "double_val",
    pb.DT_INT32: "int_val",
    pb.DT_UINT8: "int_val",
    pb.DT_INT16: "int_val",
    pb.DT_INT8: "int_val",
    pb.DT_UINT16: "int_val",
    pb.DT_INT64: "int64_val",
    pb.DT_BOOL: "bool_val",
    pb.DT_UINT32: "uint32_val",
    pb.DT_UINT64: "uint64_val",
}
_COMPLEX_FIELDS = {
    pb.DT_COMPLEX64: ("scomplex_val", np.float32),
    pb.DT_COMPLEX128: ("dcomplex_val", np.float64),
}
_BITS_IN_HALF_VAL = (pb.DT_HALF, pb.DT_BFLOAT16)


class TensorProtoError(TopicserveError, ValueError):
    """This is not a tensor that can be read or written; the message says what is wrong with it."""


@dataclass(frozen=True, slots=True, eq=False)
class FoldedTensor:
    """A tensor of which only the first values are given: the last of them stands for the rest.

    It takes no more memory than its message until it is unfolded.
    """

    values: NDArray[Any]
    shape: tuple[int, ...]

    @property
    def ndim(self) -> int:
        """Return how many dimensions the array will have."""
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        """Return how many bytes the array will take."""
        return prod(self.shape) * self.values.dtype.itemsize

    def unfold(self) -> NDArray[Any]:
        """Return the array."""
        dtype, size, given = self.values.dtype, prod(self.shape), len(self.values)
        array = np.empty(size, dtype)
        array[:given] = self.values
        if given < size:
            empty: Any = b"" if dtype.hasobject else np.zeros((), dtype)
            array[given:] = self.values[-1] if given else empty
        return array.reshape(self.shape)


def to_tensor_proto(array: NDArray[Any]) -> pb.TensorProto:
    """Return an array as TensorFlow writes it: numbers packed, strings in `string_val`.

    Strings are object arrays of bytes; str is taken too, as UTF-8. Raises TensorProtoError where
    the dtype has no counterpart or an object array holds something else.
    """
    proto = tensor_description(array.dtype, array.shape)
    if proto.dtype == pb.DT_STRING:
        proto.string_val.extend(as_bytes(array.ravel().tolist()))
    else:
        if array.dtype.byteorder == ">":
            array = array.astype(array.dtype.newbyteorder("<"))
        proto.tensor_content = array.tobytes()
    return proto


def tensor_description(dtype: np.dtype[Any], shape: Sequence[int]) -> pb.TensorProto:
    """Return a tensor of this dtype and shape that has no elements yet; see `to_tensor_proto`."""
    proto = pb.TensorProto(dtype=to_data_type(dtype))
    dims = proto.tensor_shape.dim
    for size in shape:
        dims.add(size=size)
    return proto


def from_tensor_proto(proto: pb.TensorProto) -> NDArray[Any]:
    """Return a tensor as an array, which may be read-only and share the proto's memory.

    Where fewer values are given than the shape has elements, the last one stands for the rest, and
    none at all for zeros, as in TensorFlow. Strings become an object array of bytes. Raises
    TensorProtoError for everything that does not fit together.
    """
    tensor = read_tensor(proto)
    if not isinstance(tensor, FoldedTensor):
        return tensor
    if tensor.nbytes > MAX_REPEATED_BYTES:
        raise TensorProtoError(
            f"{len(tensor.values)} values are given for {prod(tensor.shape)} elements, "
            "more than are filled up"
        )
    return tensor.unfold()


def read_tensor(proto: pb.TensorProto) -> NDArray[Any] | FoldedTensor:
    """Return the same as `from_tensor_proto`, but folded where values are repeated."""
    dtype = to_dtype(proto.dtype)
    shape = shape_of(proto)
    size = prod(shape)
    content = proto.tensor_content
    if not content:
        values = _values(proto, dtype)
        if len(values) > size:
            raise TensorProtoError(
                f"{len(values)} values are given for a tensor of {size} elements"
            )
        return values.reshape(shape) if len(values) == size else FoldedTensor(values, shape)
    if dtype.hasobject:
        return np.fromiter(_split_strings(content, size), object).reshape(shape)
    if len(content) != size * dtype.itemsize:
        raise TensorProtoError(
            f"tensor_content has {len(content)} bytes; {_name(proto.dtype)} of the shape "
            f"{list(shape)} needs {size * dtype.itemsize}"
        )
    # Whatever is not 0 is true, as in C; numpy must not see another bit pattern.
    if proto.dtype == pb.DT_BOOL:
        return np.not_equal(np.frombuffer(content, np.uint8), 0).reshape(shape)
    return np.frombuffer(content, dtype).reshape(shape)


def to_data_type(dtype: np.dtype[Any]) -> pb.DataType:
    """Return TensorFlow's name for a numpy dtype, or raise TensorProtoError."""
    if dtype.kind in "OSU":
        return pb.DT_STRING
    found = _ENUM_BY_CODE.get(dtype.newbyteorder("<")) or _ENUM_BY_NAME.get(dtype.name)
    if found is None:
        raise TensorProtoError(f"an array of {dtype.name} has no counterpart among tensors")
    return found


@lru_cache
def to_dtype(data_type: pb.DataType) -> np.dtype[Any]:
    """Return numpy's dtype for one of TensorFlow's (strings: object), or raise TensorProtoError."""
    if data_type in _DTYPES:
        return np.dtype(_DTYPES[data_type])
    if data_type in _ML_DTYPES:
        return ml_dtype(_ML_DTYPES[data_type])
    if data_type == pb.DT_INVALID:
        raise TensorProtoError("dtype is not set")
    raise TensorProtoError(f"dtype {_name(data_type)} is not supported")


def ml_dtype(name: str) -> np.dtype[Any]:
    """Return a dtype that the package ml_dtypes adds; TensorProtoError where that is missing."""
    try:
        import ml_dtypes
    except ImportError:
        raise TensorProtoError(f"dtype {name} needs the package ml_dtypes") from None
    dtype: np.dtype[Any] = np.dtype(getattr(ml_dtypes, name))
    return dtype


def _name(data_type: int) -> str:
    value = pb.DESCRIPTOR.enum_types_by_name["DataType"].values_by_number.get(data_type)
    return value.name if value is not None else str(data_type)


def shape_of(proto: pb.TensorProto) -> tuple[int, ...]:
    """Return a tensor's shape, or raise TensorProtoError where no array can have it."""
    shape = proto.tensor_shape
    if shape.unknown_rank:
        raise TensorProtoError("tensor_shape must be known, found unknown_rank")
    check_dimensions(len(shape.dim), "tensor_shape")
    return checked_sizes(tuple(dim.size for dim in shape.dim), "tensor_shape")


def check_dimensions(count: int, what: str = "shape") -> None:
    """Raise TensorProtoError for more dimensions than numpy has.

    Called before the sizes are looked at: their product would be a number of any length.
    """
    if count > MAX_DIMENSIONS:
        raise TensorProtoError(f"{what} has {count} dimensions; {MAX_DIMENSIONS} are possible")


def checked_sizes(sizes: tuple[int, ...], what: str = "shape") -> tuple[int, ...]:
    """Return the sizes of a shape, or raise TensorProtoError where no array can have them."""
    # What is longer than memory is no shape, not even where another size of 0 leaves no elements.
    if any(size < 0 for size in sizes) or prod(size or 1 for size in sizes) >= 2**40:
        raise TensorProtoError(f"{what} {list(sizes[:8])} is not a shape")
    return sizes


def _values(proto: pb.TensorProto, dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return the values that are given one by one."""
    data_type = proto.dtype
    if data_type == pb.DT_STRING:
        return np.fromiter(proto.string_val, object)
    try:
        if data_type in _FIELDS:
            return as_numbers(getattr(proto, _FIELDS[data_type]), dtype)
        if data_type in _COMPLEX_FIELDS:
            field, part = _COMPLEX_FIELDS[data_type]
            return as_numbers(getattr(proto, field), np.dtype(part)).view(dtype)
        if data_type in _BITS_IN_HALF_VAL:
            return as_numbers(proto.half_val, np.dtype(np.uint16)).view(dtype)
        return np.frombuffer(proto.float8_val, dtype)
    except (OverflowError, ValueError) as error:
        raise TensorProtoError(f"a value is no {_name(data_type)}: {error}") from None


def as_numbers(items: Sequence[float], dtype: np.dtype[Any]) -> NDArray[Any]:
    """Return numbers as an array; OverflowError where one is out of the dtype's range."""
    # Not by a list: a message of 1 MiB may hold a million, each an object of 32 bytes there.
    return np.fromiter(items, dtype, len(items))


def as_bytes(items: Sequence[Any]) -> list[bytes]:
    """Return strings as bytes, text as UTF-8; TensorProtoError where one is anything else."""
    try:
        return [item if isinstance(item, bytes) else item.encode() for item in items]
    except (AttributeError, UnicodeEncodeError):
        raise TensorProtoError("an object array must hold bytes or str alone") from None


def _split_strings(content: bytes, count: int) -> list[bytes]:
    """Return strings packed as TensorFlow packs them: all lengths as varints, then all bytes."""
    if count == 0:
        if content:
            raise TensorProtoError("tensor_content must be empty for a tensor without elements")
        return []
    lengths, start = _read_varints(content, count)
    ends = np.cumsum(lengths, dtype=np.int64) + start
    if ends[-1] != len(content):
        raise TensorProtoError("tensor_content does not have the length that its strings add up to")
    places = [start, *ends.tolist()]
    return [content[begin:end] for begin, end in pairwise(places)]


def _read_varints(content: bytes, count: int) -> tuple[NDArray[np.int64], int]:
    """Return the first numbers, and where they end; all at once, since there may be a million."""
    octets = np.frombuffer(content, np.uint8)
    last = np.flatnonzero(octets < 0x80)[:count]
    if len(last) < count:
        raise TensorProtoError("tensor_content is too short for its strings")
    first = np.concatenate([[0], last[:-1] + 1])
    # Five octets hold 35 bits, more than the length of any message.
    if (last - first).max() >= 5:
        raise TensorProtoError("tensor_content does not begin with the lengths of its strings")
    end = int(last[-1]) + 1
    place = np.arange(end) - np.repeat(first, last - first + 1)
    bits = (octets[:end].astype(np.int64) & 0x7F) << (7 * place)
    return np.add.reduceat(bits, first), end
