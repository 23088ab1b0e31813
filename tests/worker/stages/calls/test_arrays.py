"""Numbers of JSON bodies, read by the declared dtype in every form and in every way of reading."""

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from tests.support.stages.records import PARTITION, ROUTE, a_kafka_record, a_request
from topicserve.servables.kinds.servable import Signature, TensorSpec
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.input_record import decode_input
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.calls import columns
from topicserve.worker.stages.calls.arrays import InvalidInputError, read_array
from topicserve.worker.stages.calls.feeds import build_feeds
from topicserve.worker.stages.request import Request

BIG = 2**63 + 12345


def spec(dtype: Any) -> TensorSpec:
    """Return an input of a dtype and of any shape."""
    return TensorSpec(np.dtype(dtype), None)


def requests_of(numbers: list[Any]) -> list[Request]:
    """Return the same row of these numbers as a record of each form, as bodies travel."""
    records = [a_kafka_record(value=body.encode()) for body in bodies_of(json.dumps(numbers))]
    return [replace(a_request(), record=r, input=decode_input(r)) for r in records]


def bodies_of(row: str) -> list[str]:
    """Return the body of each form with this row."""
    return [
        f'{{"instance":{row}}}',
        f'{{"instance": {{"x": {row}}}}}',
        f'{{"instances": [{row}]}}',
        f'{{"instances": [{{"x": {row}}}]}}',
        f'{{"inputs": [{row}]}}',
        f'{{"inputs": {{"x": [{row}]}}}}',
    ]


def expected(numbers: list[Any], dtype: np.dtype[Any]) -> Any:
    """Return what TF Serving makes of a row (util/json_tensor.cc), None where it is refused.

    What overflows a float of 16 bits is refused here.
    """
    kind = dtype.kind
    if any((type(n) is bool) != (kind == "b") for n in numbers):
        return None
    if kind in "iu":
        limits: Any = np.iinfo(dtype)
        if any(type(n) is not int or not limits.min <= n <= limits.max for n in numbers):
            return None
        return np.array(numbers, dtype)
    with np.errstate(over="ignore"):
        exact = np.array([n if kind == "b" else float(n) for n in numbers])
        found = exact.astype(dtype)
    if dtype == np.float16 and (np.isfinite(found) != np.isfinite(exact)).any():
        return None
    return found


_numbers = st.one_of(
    st.integers(-(2**65), 2**65),
    st.sampled_from(
        [0, 127, 128, -129, 2**53 + 1, 2**60 + 2**36 + 1, 2**63, BIG, 2**64 - 1, 2**64]
    ),
    st.floats(),
    st.sampled_from([1.0, -0.0, 1e300, 2.0**63]),
    st.booleans(),
)
_dtypes = st.sampled_from(
    [np.dtype(code) for code in ["?", "i1", "i2", "i4", "i8", "u1", "u4", "u8", "f2", "f4", "f8"]]
)


@given(numbers=st.lists(_numbers, min_size=1, max_size=4), dtype=_dtypes)
def test_every_form_and_way_reads_what_tf_serving_reads(
    numbers: list[Any], dtype: np.dtype[Any]
) -> None:
    """To the last bit, or refused: whatever the form, the declared shape and the company."""
    wanted = expected(numbers, dtype)
    for shape in (None, (len(numbers),)):
        signature = Signature({"x": TensorSpec(dtype, shape)}, {})
        for request in requests_of(numbers):
            for few_bytes in (0, 2**30):
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(columns, "FEW_BYTES", few_bytes)
                    feeds, rejections = build_feeds([request], signature)
                if wanted is None:
                    assert (len(feeds), len(rejections)) == (0, 1)
                else:
                    (found,) = feeds[0].columns["x"]
                    assert found.dtype == dtype
                    assert found.tobytes() == wanted.tobytes() or np.isnan(wanted).any()
                    np.testing.assert_array_equal(found, wanted)


@given(
    token=st.sampled_from(["1e309", "-1e400", "1e999999", "9" * 309, "1" + "0" * 400 + ".5"]),
    before=st.sampled_from(["", "1,", "NaN,", "-1.5,"]),
    dtype=_dtypes,
)
def test_a_number_beyond_float64_is_refused_in_every_form_and_way(
    token: str, before: str, dtype: np.dtype[Any]
) -> None:
    """As TF Serving's parser refuses it; beyond float32 alone a number is infinite."""
    row = f"[{before}{token}]"
    size = row.count(",") + 1
    for body in bodies_of(row):
        for shape in (None, (size,)):
            for few_bytes in (0, 2**30):
                with pytest.MonkeyPatch.context() as patch:
                    patch.setattr(columns, "FEW_BYTES", few_bytes)
                    assert refuses(body, Signature({"x": TensorSpec(dtype, shape)}, {}))


def refuses(body: str, signature: Signature) -> bool:
    """Return whether a record with this body is a dead letter."""
    record = a_kafka_record(value=body.encode())
    try:
        request = replace(a_request(), record=record, input=decode_input(record))
    except InvalidRecordError:
        return True
    feeds, rejections = build_feeds([request], signature)
    return (len(feeds), len(rejections)) == (0, 1)


@pytest.mark.parametrize(
    "body",
    [
        '{"instance": 1, "instance": 2}',
        '{"instances": [1], "instances": [2]}',
        '{"instances": [{"x": 1, "x": 2}]}',
        '{"instance": {"x": 1, "x": 2}}',
        '{"inputs": [1], "inputs": [2]}',
        '{"inputs": {"x": [1], "x": [2]}}',
        '{"inputs": {"x": [1]}, "inputs": {"\\u0078": [2]}}',
    ],
)
@pytest.mark.parametrize("few_bytes", [0, 2**30])
def test_of_a_key_that_is_given_twice_the_last_value_counts(body: str, few_bytes: int) -> None:
    """In every form and way alike."""
    record = a_kafka_record(value=body.encode())
    request = replace(a_request(), record=record, input=decode_input(record))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(columns, "FEW_BYTES", few_bytes)
        (feed,), _ = build_feeds([request], Signature({"x": TensorSpec(np.dtype("i8"), ())}, {}))

    assert feed.columns["x"].tolist() == [2]


def test_integers_of_64_bits_keep_them_on_both_sides_of_2_to_the_63() -> None:
    """Where numpy would make floats of them."""
    found = read_array([[1, BIG], [2**64 - 1, 0]], spec(np.uint64), "x")

    assert found.tolist() == [[1, BIG], [2**64 - 1, 0]]


@pytest.mark.parametrize(
    ("dtype", "values", "says"),
    [
        (
            np.int64,
            [1, BIG],
            f"x: {BIG} is out of range for int64, which is from -9223372036854775",
        ),
        (np.int64, [2.0**64], "x: 1.8446744073709552e+19 is out of range for int64"),
        (np.int8, [1, -129], "x: -129 is out of range for int8, which is from -128 to 127"),
        (
            np.uint64,
            [-1],
            "x: -1 is out of range for uint64, which is from 0 to 184467440737095516",
        ),
        (np.uint8, [256], "x: 256 is out of range for uint8, which is from 0 to 255"),
        (np.int32, [1.0], "x: must be int32, found the float 1.0"),
        (np.int32, [float("nan")], "x: must be int32, found the float nan"),
        (np.int32, [1, True], "x: must be int32, found a boolean"),
        (np.float32, [True], "x: must be float32, found a boolean"),
        (np.float32, [1.0, None], "x: must be float32, found null"),
        (np.float32, [1.0, "2"], "x: must be float32, found a string"),
        (np.float32, [{"y": 1}], "x: must be float32, found an object"),
        (np.float32, [b"2"], "x: must be float32, found base64"),
        (np.float64, [10**400], f"x: {'1' + '0' * 63}... is out of range for float64"),
        (np.bool_, [True, 1], "x: must be bool, found a number"),
        (np.float32, [1.0, [2.0]], "x: the rows differ in shape, or a row is ragged"),
        (np.float32, [[1.0], [2.0, 3.0]], "x: the rows differ in shape, or a row is ragged"),
        (np.float32, [[1.0], 2.0], "x: the rows differ in shape, or a row is ragged"),
        (object, ["a", ["b"]], "x: the rows differ in shape, or a row is ragged"),
        (object, [1], "x: must be strings, found a number"),
    ],
)
def test_the_first_value_at_fault_is_named(dtype: Any, values: list[Any], says: str) -> None:
    """With the input, and the range where it is out of it."""
    with pytest.raises(InvalidInputError) as caught:
        read_array(values, spec(dtype), "x")

    assert str(caught.value).startswith(says)


def test_a_boolean_is_refused_beside_an_input_of_strings() -> None:
    """Each input is looked at by itself, whatever the others are of."""
    signature = Signature(
        {"n": TensorSpec(np.dtype("i4"), ()), "s": TensorSpec(np.dtype("O"), ())}, {}
    )

    _, (rejection,) = build_feeds([a_request({"n": True, "s": "a"})], signature)

    assert str(rejection.error) == "n: must be int32, found a boolean"


def test_a_long_string_among_many_costs_no_room_for_each() -> None:
    """Numpy would give each of them the room of the longest."""
    values = ["x" * 1_000_000] + ["y"] * 100_000

    with pytest.raises(InvalidInputError, match="found a string"):
        read_array(values, spec(np.float32), "x")


def test_arrays_can_be_written_to() -> None:
    """A kind of a user's own may work in place."""
    assert read_array([1.0], spec(np.float64), "x").flags.writeable


@pytest.mark.parametrize(
    ("written", "says"),
    [
        (
            "-9223372036854775809",
            "-9223372036854775809 is out of range for int64, which is from -9",
        ),
        ("18446744073709551616", "18446744073709551616 is out of range for int64, which is from"),
        ("1" + "0" * 300, "1" + "0" * 63 + "... is out of range for int64, which is from -92"),
        ("1e30", "must be int64, found the float 1e+30"),
        ("-9.3e18", "must be int64, found the float -9.3e+18"),
    ],
)
@pytest.mark.parametrize("body", ['{"instance": [7, %s]}', '{"instances": [[7, %s]]}'])
def test_an_integer_that_no_64_bits_hold_is_named_as_it_was_written(
    body: str, written: str, says: str
) -> None:
    """And a float is called a float, whatever its size."""
    record = a_kafka_record(value=(body % written).encode())
    request = Request(record, PartitionAssignment(PARTITION), 10, 0.0, decode_input(record), ROUTE)
    signature = Signature({"x": TensorSpec(np.dtype(np.int64), (2,))}, {})

    _, (rejection,) = build_feeds([request], signature)

    assert str(rejection.error).startswith(f"x: {says}")
