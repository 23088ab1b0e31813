"""Tensors go to the wire and back, read as TensorFlow reads them, and never break their reader."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray
from tensorflow.core.framework import tensor_pb2 as tf_tensor_pb2

from topicserve.protos import tensor_pb2 as pb
from topicserve.protos.tensors import (
    MAX_REPEATED_BYTES,
    TensorProtoError,
    from_tensor_proto,
    to_tensor_proto,
)

NUMBERS = [
    np.dtype(code)
    for code in ("f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "?", "c8", "c16")
]
ALL_NUMBERS = [*NUMBERS, np.dtype(ml_dtypes.bfloat16), np.dtype(ml_dtypes.float8_e5m2)]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


def strings(*values: bytes) -> NDArray[Any]:
    """Return a column of strings."""
    array = np.empty(len(values), object)
    array[:] = values
    return array


def theirs(proto: pb.TensorProto) -> Any:
    """Return our tensor as TensorFlow's message."""
    return tf_tensor_pb2.TensorProto.FromString(proto.SerializeToString())


def ours(proto: Any) -> pb.TensorProto:
    """Return TensorFlow's tensor as our message."""
    return pb.TensorProto.FromString(proto.SerializeToString())


def assert_same(left: NDArray[Any], right: NDArray[Any]) -> None:
    """Check dtype, shape and every bit, NaN included."""
    assert left.dtype == right.dtype
    assert left.shape == right.shape
    assert left.tolist() == right.tolist() or left.tobytes() == right.tobytes()


@given(st.sampled_from(NUMBERS).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES)))
def test_numbers_come_back_as_they_were(array: NDArray[Any]) -> None:
    """Every dtype and shape survives the way there and back."""
    assert_same(from_tensor_proto(to_tensor_proto(array)), array)


@given(st.sampled_from(NUMBERS).flatmap(lambda dtype: hnp.arrays(dtype, SHAPES)))
def test_tensorflow_reads_what_is_written(array: NDArray[Any]) -> None:
    """TensorFlow makes the same array of our bytes."""
    assert_same(tf.make_ndarray(theirs(to_tensor_proto(array))), array)


@given(st.lists(st.binary(max_size=5), max_size=4))
def test_strings_come_back_as_they_were(values: list[bytes]) -> None:
    """Strings are bytes, whatever they hold."""
    array = strings(*values)

    assert_same(from_tensor_proto(to_tensor_proto(array)), array)
    assert_same(tf.make_ndarray(theirs(to_tensor_proto(array))), array)


@pytest.mark.parametrize("dtype", ALL_NUMBERS, ids=str)
@pytest.mark.parametrize("values", [[[1, 0], [1, 1]], [[1, 1], [1, 1]], [[]]], ids=str)
def test_value_lists_are_read_as_tensorflow_reads_them(
    dtype: np.dtype[Any], values: list[list[int]]
) -> None:
    """The other form, a list of values, gives the array that TensorFlow gives."""
    listed = tf.make_tensor_proto(np.array(values, dtype))
    listed = listed if not listed.tensor_content else in_value_list(np.array(values, dtype))

    assert_same(from_tensor_proto(ours(listed)), tf.make_ndarray(listed))


def in_value_list(array: NDArray[Any]) -> Any:
    """Return the tensor with its values in the list of its dtype, as TF Serving answers."""
    dtype = tf.as_dtype(array.dtype).as_datatype_enum
    proto = tf_tensor_pb2.TensorProto(
        dtype=dtype, tensor_shape=tf.TensorShape(array.shape).as_proto()
    )
    flat = array.ravel()
    if array.dtype in (np.float16, ml_dtypes.bfloat16):
        proto.half_val.extend(flat.view(np.uint16).tolist())
    elif array.dtype.itemsize == 1 and array.dtype.kind in "Vf":
        proto.float8_val = array.tobytes()
    elif array.dtype.kind == "c":
        parts = flat.view(np.dtype(f"f{array.dtype.itemsize // 2}")).tolist()
        (proto.scomplex_val if array.dtype == np.complex64 else proto.dcomplex_val).extend(parts)
    else:
        names = {"bool": "bool", "uint32": "uint32", "uint64": "uint64", "int64": "int64"}
        names |= {"float32": "float", "float64": "double"}
        getattr(proto, names.get(array.dtype.name, "int") + "_val").extend(flat.tolist())
    return proto


@pytest.mark.parametrize(
    "proto",
    [
        pb.TensorProto(dtype=pb.DT_FLOAT, float_val=[2.5]),
        pb.TensorProto(dtype=pb.DT_FLOAT, float_val=[1.0, 2.0]),
        pb.TensorProto(dtype=pb.DT_INT64),
        pb.TensorProto(dtype=pb.DT_STRING, string_val=[b"a"]),
        pb.TensorProto(dtype=pb.DT_HALF, half_val=[15360]),
    ],
    ids=str,
)
def test_last_value_stands_for_those_not_given(proto: pb.TensorProto) -> None:
    """Fewer values than elements are filled up as TensorFlow does."""
    for size in (2, 3):
        proto.tensor_shape.dim.add(size=size)

    assert_same(from_tensor_proto(proto), tf.make_ndarray(theirs(proto)))


def test_no_string_stands_for_empty_ones() -> None:
    """A string tensor without values is full of empty strings, never of zeros."""
    proto = pb.TensorProto(dtype=pb.DT_STRING)
    proto.tensor_shape.dim.add(size=2)

    assert from_tensor_proto(proto).tolist() == [b"", b""]


def test_packed_strings_are_read() -> None:
    """TensorFlow may pack strings into tensor_content: their lengths first."""
    proto = pb.TensorProto(dtype=pb.DT_STRING, tensor_content=b"\x02\x80\x01" + b"ab" + b"x" * 128)
    proto.tensor_shape.dim.add(size=2)

    assert from_tensor_proto(proto).tolist() == [b"ab", b"x" * 128]


def test_text_is_written_as_utf_8() -> None:
    """Strings of Python and of numpy are taken too."""
    for array in (np.array(["é"], object), np.array(["é"]), np.array(["é".encode()])):
        assert from_tensor_proto(to_tensor_proto(array)).tolist() == ["é".encode()]


def test_big_endian_is_turned_round() -> None:
    """The wire is little endian whatever the array was."""
    array = np.array([1, 256], ">i4")

    assert from_tensor_proto(to_tensor_proto(array)).tolist() == [1, 256]


def test_any_byte_but_zero_is_true() -> None:
    """A boolean is read as C reads it, where TensorFlow refuses the tensor."""
    proto = pb.TensorProto(dtype=pb.DT_BOOL, tensor_content=b"\x00\x01\x02")
    proto.tensor_shape.dim.add(size=3)
    with pytest.raises(tf.errors.InvalidArgumentError):
        tf.raw_ops.ParseTensor(serialized=proto.SerializeToString(), out_type=tf.bool)

    assert from_tensor_proto(proto).tolist() == [False, True, True]


def with_shape(proto: pb.TensorProto, *sizes: int) -> pb.TensorProto:
    """Return the tensor, declared to have these dimensions."""
    for size in sizes:
        proto.tensor_shape.dim.add(size=size)
    return proto


@pytest.mark.parametrize(
    ("proto", "problem"),
    [
        (pb.TensorProto(), "dtype is not set"),
        (pb.TensorProto(dtype=pb.DT_VARIANT), "DT_VARIANT is not supported"),
        (pb.TensorProto.FromString(b"\x08\x63"), "dtype 99 is not supported"),
        (
            pb.TensorProto(dtype=pb.DT_INT32, tensor_shape=pb.TensorShapeProto(unknown_rank=True)),
            "must be known",
        ),
        (with_shape(pb.TensorProto(dtype=pb.DT_INT32), -1), "is not a shape"),
        (with_shape(pb.TensorProto(dtype=pb.DT_INT32), 2**50, 0), "is not a shape"),
        (
            with_shape(pb.TensorProto(dtype=pb.DT_INT32), *[1] * 65),
            "65 dimensions; 64 are possible",
        ),
        (
            with_shape(pb.TensorProto(dtype=pb.DT_INT32, tensor_content=b"abc"), 1),
            "3 bytes; DT_INT32 of the shape .1. needs 4",
        ),
        (
            with_shape(pb.TensorProto(dtype=pb.DT_FLOAT, float_val=[1, 2, 3]), 2),
            "3 values are given for a tensor of 2 elements",
        ),
        (
            with_shape(pb.TensorProto(dtype=pb.DT_FLOAT, float_val=[1]), MAX_REPEATED_BYTES),
            "more than are filled up",
        ),
        (
            with_shape(pb.TensorProto(dtype=pb.DT_INT8, int_val=[300]), 1),
            "a value is no DT_INT8",
        ),
        (
            with_shape(pb.TensorProto(dtype=pb.DT_HALF, half_val=[-1]), 1),
            "a value is no DT_HALF",
        ),
        (
            with_shape(pb.TensorProto(dtype=pb.DT_COMPLEX64, scomplex_val=[1.0]), 1),
            "a value is no DT_COMPLEX64",
        ),
        (
            with_shape(pb.TensorProto(dtype=pb.DT_STRING, tensor_content=b"\x05ab"), 1),
            "length that its strings add up to",
        ),
        (
            with_shape(pb.TensorProto(dtype=pb.DT_STRING, tensor_content=b"\xff" * 9 + b"\1"), 1),
            "begin with the lengths",
        ),
        (
            with_shape(pb.TensorProto(dtype=pb.DT_STRING, tensor_content=b"\x00"), 2),
            "too short",
        ),
    ],
)
def test_what_does_not_fit_is_refused(proto: pb.TensorProto, problem: str) -> None:
    """The error says what is wrong with the tensor."""
    with pytest.raises(TensorProtoError, match=problem):
        from_tensor_proto(proto)


DROPPED: list[tuple[pb.TensorProto, Any]] = [
    (with_shape(pb.TensorProto(dtype=pb.DT_FLOAT, float_val=[1, 2, 3]), 2), [1, 2]),
    (with_shape(pb.TensorProto(dtype=pb.DT_INT16, int_val=[1, 2]), 1), [1]),
    (with_shape(pb.TensorProto(dtype=pb.DT_STRING, string_val=[b"a", b"b"]), 1), [b"a"]),
    (with_shape(pb.TensorProto(dtype=pb.DT_HALF, half_val=[0x3C00, 0]), 1), [1]),
    (with_shape(pb.TensorProto(dtype=pb.DT_COMPLEX64, scomplex_val=[1, 2, 3, 4]), 1), [1 + 2j]),
    (with_shape(pb.TensorProto(dtype=pb.DT_COMPLEX64, scomplex_val=[1, 2, 3]), 1), [1 + 2j]),
    (with_shape(pb.TensorProto(dtype=pb.DT_UINT8, int_val=[300]), 1), [44]),
    (
        pb.TensorProto(
            dtype=pb.DT_FLOAT,
            tensor_shape=pb.TensorShapeProto(unknown_rank=True),
            float_val=[1],
        ),
        1,
    ),
    (
        with_shape(
            pb.TensorProto(
                dtype=pb.DT_FLOAT,
                tensor_shape=pb.TensorShapeProto(unknown_rank=True),
                float_val=[1, 2],
            ),
            2,
        ),
        [1, 2],
    ),
    (with_shape(pb.TensorProto(dtype=pb.DT_FLOAT, tensor_content=bytes(8)), 1, 0), [[]]),
    (with_shape(pb.TensorProto(dtype=pb.DT_STRING, tensor_content=b"ab"), 0), []),
    (with_shape(pb.TensorProto(dtype=pb.DT_FLOAT, float_val=[1, 2]), 0), []),
]


@pytest.mark.parametrize(("proto", "read"), DROPPED)
def test_what_tensorflow_drops_of_a_tensor_is_refused(proto: pb.TensorProto, read: Any) -> None:
    """It would read a part of what was sent; docs/wire_format.md lists these."""
    parsed = tf.raw_ops.ParseTensor(serialized=proto.SerializeToString(), out_type=proto.dtype)
    assert parsed.numpy().tolist() == read

    with pytest.raises(TensorProtoError):
        from_tensor_proto(proto)


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.array([1, "a"], object), "bytes or str alone"),
        (np.array(["\ud800"], object), "bytes or str alone"),
        (np.array([0], "M8[s]"), "no counterpart"),
    ],
)
def test_arrays_without_counterpart_are_refused(array: NDArray[Any], problem: str) -> None:
    """Writing names the dtype or the content at fault."""
    with pytest.raises(TensorProtoError, match=problem):
        to_tensor_proto(array)


@given(
    dtype=st.integers(0, 40),
    sizes=st.lists(st.integers(-2, 5) | st.integers(), max_size=3),
    content=st.binary(max_size=40),
    values=st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4),
    tail=st.binary(max_size=20),
)
def test_no_tensor_raises_anything_else(
    dtype: int, sizes: list[int], content: bytes, values: list[int], tail: bytes
) -> None:
    """Whatever a proto holds, it becomes an array of its shape or a TensorProtoError."""
    proto = pb.TensorProto(tensor_content=content, int_val=values, half_val=values, float8_val=tail)
    proto.MergeFromString(b"\x08" + bytes([dtype]))
    for size in sizes:
        proto.tensor_shape.dim.add(size=max(-(2**63), min(size, 2**63 - 1)))

    try:
        array = from_tensor_proto(proto)
    except TensorProtoError:
        return

    assert list(array.shape) == sizes
