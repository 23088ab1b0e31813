"""Responses that are written as copies of another one say the same as protobuf's."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from tests.support.stages.records import codec_of
from topicserve.protos.predict_pb2 import PredictResponse
from topicserve.wire.headers import ServableSpec
from topicserve.wire.input_record import InputRecord
from topicserve.wire.json_codec.body import Form
from topicserve.wire.protobuf_codec import encode_predict_response
from topicserve.wire.result import Metadata, MetadataStatus
from topicserve.wire.tensor_layouts.responses import ResponseWriter

FOUND = Metadata(MetadataStatus.ABSENT)
DTYPES = ("<f4", ">f8", "<i4", "<i8", "u1", "<f2", "<c8", "?", "S3", "O")


def a_column(dtype: str, shape: tuple[int, ...], first: int) -> NDArray[Any]:
    """Return numbers that count up from one, or as text."""
    numbers = np.arange(first, first + int(np.prod(shape))).reshape(shape)
    if dtype == "O":
        column = np.empty(shape, object)
        column.reshape(-1)[:] = [b"%d" % number for number in numbers.flat]
        return column
    return numbers.astype(dtype)


def asking_for(wanted: tuple[str, ...]) -> InputRecord:
    """Return a record that wants these outputs."""
    codec = codec_of(Form.TENSORS)
    return InputRecord("id", ServableSpec(), Form.TENSORS, None, 1, codec, output_filter=wanted)


def message(value: bytes) -> PredictResponse:
    """Return what a response says: the order of its outputs is of no meaning."""
    return PredictResponse.FromString(value)


@given(
    st.dictionaries(
        st.sampled_from(["a", "b", "c"]),
        st.tuples(st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=2)),
        min_size=1,
    ),
    st.sets(st.sampled_from(["a", "b"])),
    st.lists(st.tuples(st.integers(1, 3), st.sampled_from([(), ("a",), ("b", "a")])), max_size=8),
    st.booleans(),
)
def test_a_response_says_what_protobuf_writes(
    specs: dict[str, Any],
    whole: set[str],
    records: list[tuple[int, tuple[str, ...]]],
    is_reversed: bool,
) -> None:
    """Outputs of any dtype, with and without rows, for records of any rows and choice."""
    rows = sum(count for count, _ in records)
    outputs = {
        name: a_column(dtype, (*([] if name in whole else [rows]), *shape), 5)
        for name, (dtype, shape) in specs.items()
    }
    if is_reversed:  # a view whose memory is not in order
        outputs = {n: c if n in whole else c[::-1] for n, c in outputs.items()}
    writer = ResponseWriter("s", 3, "serving_default", outputs, whole)

    start = 0
    for count, wanted in records:
        own = {
            name: column if name in whole else column[start : start + count]
            for name, column in outputs.items()
            if not wanted or name in wanted
        }
        expected = encode_predict_response(own, "s", 3, "serving_default")
        assert message(writer.write(asking_for(wanted), start, count, FOUND)) == message(expected)
        start += count


def test_a_dtype_without_a_counterpart_is_refused_each_time() -> None:
    """For the first record and for those that follow."""
    writer = ResponseWriter("s", 1, "", {"y": np.zeros(2, "M8[s]")}, ())

    for start in range(2):
        with pytest.raises(ValueError, match="has no counterpart among tensors"):
            writer.write(asking_for(()), start, 1, FOUND)
