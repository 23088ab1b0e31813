"""A tensor's elements in JSON are read as its datatype and shape say, or refused."""

import json
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from topicserve.protos.infer_tensors import datatype_of, dtype_of
from topicserve.protos.tensors import TensorProtoError
from topicserve.wire.bodies.open_inference.json_data import read_data, write_data

DATATYPES = [
    *("BOOL", "FP16", "BF16", "FP32", "FP64", "BYTES"),
    *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
]
SHAPES = hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=3)


def arrays(datatype: str) -> Any:
    """Return arrays that JSON holds without loss."""
    if datatype == "BYTES":
        return hnp.arrays(object, SHAPES, elements=st.text(max_size=5).map(str.encode))
    if datatype == "BF16":
        numbers = hnp.arrays(np.float32, SHAPES, elements=st.integers(-100, 100))
        return numbers.map(lambda array: array.astype(ml_dtypes.bfloat16))
    dtype = dtype_of(datatype)
    if dtype.kind == "f":
        finite = hnp.from_dtype(dtype, allow_nan=False, allow_infinity=False)
        return hnp.arrays(dtype, SHAPES, elements=finite)
    return hnp.arrays(dtype, SHAPES)


@given(st.sampled_from(DATATYPES).flatmap(arrays), st.booleans())
def test_what_is_written_is_read(array: Any, is_nested: bool) -> None:
    """Flat, as it is written, and nested, as clients write it, with white space or without."""
    datatype = datatype_of(array.dtype)
    data, is_base64 = write_data("y", array)
    if is_nested and array.ndim:
        flat = json.loads(data)
        nested = np.empty(array.shape, object)
        nested.reshape(-1)[:] = flat
        data = json.dumps(nested.tolist(), indent=1).encode()

    found = read_data(data, datatype, array.shape, is_base64=is_base64)

    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tolist() == array.tolist()


def test_strings_that_are_no_text_are_base64() -> None:
    """All of them, since one parameter says it of the tensor."""
    array = np.array([b"\xff", b"text"], object)

    data, is_base64 = write_data("y", array)

    assert (data, is_base64) == (b'["/w==","dGV4dA=="]', True)
    assert read_data(data, "BYTES", [2], is_base64=True).tolist() == array.tolist()


def test_what_json_lacks_is_null() -> None:
    """As in results of TensorFlow Serving's JSON; a reader of results has NaN."""
    data, _ = write_data("y", np.array([1.5, np.nan, np.inf], np.float32))

    assert data == b"[1.5,null,null]"
    found = read_data(data, "FP32", [3], null_is_nan=True)
    assert np.isnan(found).tolist() == [False, True, True]
    with pytest.raises(ValueError, match="complex numbers"):
        write_data("y", np.array([1j]))


@pytest.mark.parametrize(
    ("data", "datatype", "shape", "says"),
    [
        (b"[1]", "INT64", [2], r"has 1 elements; the shape \[2\] has 2"),
        (b"1", "INT64", [], "must be a list"),
        (b'{"a":1}', "INT64", [1], "must be a list"),
        (b"[[1,2],[3]]", "INT64", [2, 2], r"neither flat nor nested as \[2, 2\]"),
        (b"[[1,2,3],[4]]", "INT64", [2, 2], "neither flat nor nested"),
        (b"[[[1]],[[2]]]", "INT64", [2, 1], "neither flat nor nested"),
        (b"[[1,2],3,[4]]", "INT64", [2, 2], "neither flat nor nested"),
        (b'[["a","b"],["c"]]', "BYTES", [2, 2], "neither flat nor nested"),
        (b'[["a"],[]]', "BYTES", [2, 1], r"has 1 elements; the shape \[2, 1\] has 2"),
        (b'[["a"],[1]]', "BYTES", [2, 1], "has 1 elements"),
        (b"[[1],[]]", "INT64", [2, 1], "cannot be read"),
        (b"[[],[]]", "INT64", [2**39, 0], "neither flat nor nested"),
        (b"[1,[2]]", "INT64", [2], "has a list or an object, which is no INT64"),
        (b"[[1],[2]]", "INT64", [2], "has a list or an object, which is no INT64"),
        (b"[true]", "INT64", [1], "has a boolean, which is no INT64"),
        (b"[1]", "BOOL", [1], "has an integer, which is no BOOL"),
        (b"[1.0]", "INT64", [1], "has a fraction, which is no INT64"),
        (b"[null]", "FP32", [1], "has null, which is no FP32"),
        (b'["1"]', "FP32", [1], "has a string, which is no FP32"),
        (b'[["1"]]', "FP32", [1, 1], "has a string, which is no FP32"),
        (b"[1]", "BYTES", [1], "has an integer, which is no BYTES"),
        (b"[1e20]", "INT64", [1], "has a fraction, which is no INT64"),
        (b"[1,-1e-300,1.00000000000000000000]", "INT64", [3], "has a fraction, which is no INT64"),
        (b"[300]", "UINT8", [1], "has a number out of range of UINT8: 300$"),
        (b"[-1]", "UINT64", [1], "has a number out of range of UINT64: -1$"),
        (b"[ 18446744073709551616 ]", "UINT64", [1], "of range of UINT64: 18446744073709551616$"),
        (b"[[1],[18446744073709551616]]", "UINT64", [2, 1], "of UINT64: 18446744073709551616$"),
        (b"[-9223372036854775809]", "INT64", [1], "range of INT64: -9223372036854775809$"),
        (b"[1,9223372036854775808]", "INT64", [2], "range of INT64: 9223372036854775808$"),
        (b"[%b]" % (b"9" * 300), "INT8", [1], r"range of INT8: 9{64}\.\.\.$"),
        (b"[%b]" % (b"9" * 9000), "INT8", [1], "cannot be read"),
        (b"[1.5,18446744073709551616]", "INT64", [2], "of INT64: 18446744073709551616$"),
        (b"[true,18446744073709551616]", "INT64", [2], "has a boolean, which is no INT64"),
        (b"[70000]", "FP16", [1], "has a number out of range of FP16: 70000$"),
        (b"[1,1e39]", "FP32", [2], r"has a number out of range of FP32: 1e\+39$"),
        (b"[1e39]", "BF16", [1], "has a number out of range of BF16"),
        (b"[1e400]", "FP64", [1], "cannot be read"),
        (b"[NaN]", "FP32", [1], "cannot be read"),
        (b"[1]", "FP8", [1], "datatype 'FP8' is not one of BOOL"),
        (b"[]", "FP32", [2**40], "is not a shape"),
        (b"[]", "FP32", [-1], "is not a shape"),
        (b"[1]", "FP32", [1] * 65, "has 65 dimensions; 64 are possible"),
    ],
)
def test_data_that_is_not_as_declared_is_refused(
    data: bytes, datatype: str, shape: list[int], says: str
) -> None:
    """With what is wrong with it."""
    with pytest.raises(TensorProtoError, match=says):
        read_data(data, datatype, shape)


def test_base64_that_is_none_is_refused() -> None:
    """As in TensorFlow Serving's JSON."""
    with pytest.raises(TensorProtoError, match="data has a string that is not base64"):
        read_data(b'["?"]', "BYTES", [1], is_base64=True)


TREES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=12,
)


@given(
    TREES,
    st.sampled_from([*DATATYPES, ""]),
    st.lists(st.integers(-1, 3), max_size=4),
    st.booleans(),
)
def test_any_data_is_read_or_refused(
    tree: Any, datatype: str, shape: list[int], is_base64: bool
) -> None:
    """Read only where the JSON says so: as many elements as a JSON reader finds."""
    data = json.dumps(tree).encode()

    try:
        found = read_data(data, datatype, shape, is_base64=is_base64)
    except TensorProtoError:
        return

    assert list(found.shape) == shape
    nested = np.array(tree, object)
    assert nested.size == found.size
    assert nested.shape in ((found.size,), found.shape)
