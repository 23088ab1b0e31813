"""The Open Inference Protocol's tensors become arrays, or say why not, in bounded memory."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from topicserve.protos import open_inference_pb2 as pb
from topicserve.protos.infer_tensors import (
    datatype_of,
    dtype_of,
    read_infer_tensors,
    set_contents,
    to_raw_contents,
)
from topicserve.protos.tensors import TensorProtoError

RAW_ONLY = ("FP16", "BF16")
NUMBERS = [
    *("BOOL", "FP16", "BF16", "FP32", "FP64"),
    *(f"{sign}INT{bits}" for sign in ("", "U") for bits in (8, 16, 32, 64)),
]
FIELDS = [field.name for field in pb.InferTensorContents.DESCRIPTOR.fields]
arrays = st.sampled_from([name for name in NUMBERS if name != "BF16"]).flatmap(
    lambda name: hnp.arrays(dtype_of(name), hnp.array_shapes(min_dims=0, min_side=0))
)
strings = hnp.arrays(object, hnp.array_shapes(min_dims=0, min_side=0), elements=st.binary())


def tensor(datatype: str, *shape: int, **contents: Any) -> pb.ModelInferRequest.InferInputTensor:
    """Return a tensor named x."""
    made = pb.ModelInferRequest.InferInputTensor(name="x", datatype=datatype, shape=shape)
    for field, values in contents.items():
        getattr(made.contents, field).extend(values)
    return made


def read(made: Any, *raw: bytes) -> Any:
    """Return its array, or raise what is wrong with it."""
    ((_, found),) = read_infer_tensors([made], raw)
    if isinstance(found, TensorProtoError):
        raise found
    return found


@given(st.one_of(arrays, strings))
def test_any_array_comes_back(array: Any) -> None:
    """Raw or typed, to the last bit."""
    datatype = datatype_of(array.dtype)
    bare, typed = (tensor(datatype, *array.shape) for _ in range(2))

    found = [read(bare, to_raw_contents(array))]
    if datatype not in RAW_ONLY:
        set_contents(typed, array)
        found.append(read(typed))

    for one in found:
        assert (one.dtype, one.shape) == (array.dtype, array.shape)
        assert to_raw_contents(one) == to_raw_contents(array)


def test_bfloat16_comes_back() -> None:
    """By the dtype that ml_dtypes adds."""
    array = np.array([[1.5], [-3e38]], ml_dtypes.bfloat16)

    found = read(tensor("BF16", 2, 1), to_raw_contents(array))

    assert (found.dtype, found.tolist()) == (array.dtype, array.tolist())


def test_every_datatype_has_a_name() -> None:
    """Both ways; big-endian numbers are written as little-endian ones."""
    assert [datatype_of(dtype_of(name)) for name in NUMBERS] == NUMBERS
    assert datatype_of(np.dtype(">i4")) == "INT32"
    assert to_raw_contents(np.array([1], ">i4")) == b"\1\0\0\0"
    with pytest.raises(TensorProtoError, match="no datatype for complex64"):
        datatype_of(np.dtype(np.complex64))


@given(
    datatype=st.sampled_from([*NUMBERS, "BYTES", "", "FP8", "fp32"]),
    shape=st.lists(st.one_of(st.integers(-2, 4), st.integers(-(2**63), 2**63 - 1)), max_size=70),
    raw=st.one_of(st.none(), st.binary(max_size=200)),
    field=st.sampled_from(FIELDS),
    values=st.lists(st.integers(0, 1), max_size=5),
)
def test_any_tensor_is_read_or_refused(
    datatype: str, shape: list[int], raw: bytes | None, field: str, values: list[int]
) -> None:
    """Never with more elements than it was given."""
    is_bytes = field == "bytes_contents"
    made = tensor(datatype, *shape, **{field: [b"%d" % v for v in values] if is_bytes else values})

    try:
        found = read(made, *([] if raw is None else [raw]))
    except TensorProtoError:
        return

    assert list(found.shape) == shape
    assert found.size <= max(len(raw or b""), len(values))


STRINGS = b"\1\0\0\0a\2\0\0\0bc"


@pytest.mark.parametrize(
    ("made", "raw", "says"),
    [
        (tensor("FP32", 2), b"\0" * 7, r"has 7 bytes of raw contents; FP32 .* \[2\] needs 8"),
        (tensor("FP32", 2, fp32_contents=[1]), None, "1 values are given for a tensor of 2"),
        (tensor("FP32", 1, fp32_contents=[1]), b"\0" * 4, "both raw contents and typed ones"),
        (tensor("FP32", 1, fp64_contents=[1]), None, "belongs in fp32_contents, found fp64_"),
        (tensor("FP16", 1, fp32_contents=[1]), None, "FP16 must have raw contents"),
        (tensor("INT8", 1, int_contents=[300]), None, "a value is no INT8"),
        (tensor("UINT16", 1, uint_contents=[70000]), None, "a value is no UINT16"),
        (tensor("BYTES", 3), STRINGS, "11 bytes of raw contents are too few for 3 strings"),
        (tensor("BYTES", 1), STRINGS, "the strings take 5 bytes; the raw contents have 11"),
        (tensor("BYTES", 2), STRINGS[:-1], "the strings take 11 bytes; the raw contents have 10"),
        (tensor("BYTES", 2), STRINGS[:7] + b"\xff" * 3, "the strings take"),
        (tensor("FP32", -1), b"", r"shape \[-1\] is not a shape"),
        (tensor("FP32", 2**40, 2**40), b"", "is not a shape"),
        (tensor("FP32", 0, 2**62), b"", "is not a shape"),
        (tensor("FP32", *[1] * 65), b"\0" * 4, "shape has 65 dimensions; 64 are possible"),
        (tensor("fp32", 1), b"\0" * 4, "datatype 'fp32' is not one of BOOL"),
    ],
)
def test_what_does_not_fit_together_is_named(made: Any, raw: bytes | None, says: str) -> None:
    """With what was expected."""
    with pytest.raises(TensorProtoError, match=says):
        read(made, *([] if raw is None else [raw]))


def test_raw_contents_are_one_for_each_tensor() -> None:
    """Else no one knows whose they are."""
    with pytest.raises(TensorProtoError, match="1 raw contents are given for 2 tensors"):
        list(read_infer_tensors([tensor("FP32", 0), tensor("FP32", 0)], [b""]))


def test_whatever_is_not_zero_is_true() -> None:
    """Of raw booleans."""
    assert read(tensor("BOOL", 3), b"\0\1\xff").tolist() == [False, True, True]


@pytest.mark.parametrize("array", [np.array([1], object), np.array(["\ud800"], object)])
def test_objects_that_are_no_strings_are_refused(array: Any) -> None:
    """Rather than written as something else."""
    with pytest.raises(TensorProtoError, match="must hold bytes or str alone"):
        to_raw_contents(array)


@pytest.mark.parametrize("datatype", RAW_ONLY)
def test_narrow_floats_have_no_typed_contents(datatype: str) -> None:
    """The protocol has no list for them."""
    with pytest.raises(TensorProtoError, match=f"{datatype} has no typed contents"):
        set_contents(tensor(datatype, 1), np.ones(1, dtype_of(datatype)))
