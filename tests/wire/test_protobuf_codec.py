from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from numpy.typing import NDArray

from tests.support.stages.examples import examples
from topicserve.protos.predict_pb2 import PredictRequest, PredictResponse
from topicserve.protos.tensor_pb2 import DataType
from topicserve.wire import header_names as names
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.input_record import decode_input
from topicserve.wire.json_codec.body import Form
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.limits import DEFAULT_LIMITS, Limits
from topicserve.wire.protobuf_codec import (
    columns_bytes,
    decode_predict_request,
    decode_predict_response,
    encode_predict_request,
    encode_predict_response,
    unfolded,
)

RECORD_ID = "7f2e0f0a-8f5f-4b59-9a0a-6f9f7f0d5d10"


def strings(*values: bytes) -> NDArray[Any]:
    """Return a column of strings."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def a_request() -> PredictRequest:
    """Return a request with one row."""
    return PredictRequest.FromString(encode_predict_request({"x": np.array([[1, 2]], np.float32)}))


def decode_error(request: PredictRequest, limits: Limits = DEFAULT_LIMITS) -> str:
    """Return what is said about a request."""
    with pytest.raises(InvalidRecordError) as caught:
        decode_predict_request(request.SerializeToString(), limits)
    return str(caught.value)


def test_a_request_comes_out_as_it_went_in() -> None:
    """Columns, and everything that the model_spec says."""
    columns = {"x": np.array([[1, 2], [3, 4]], np.float32), "s": strings(b"a", b"\xff")}

    body = decode_predict_request(
        encode_predict_request(
            columns,
            servable_name="digits",
            version=3,
            signature_name="predict",
            output_filter=["scores"],
        )
    )

    assert body.servable_name == "digits"
    assert (body.version, body.label) == (3, None)
    assert body.signature_name == "predict"
    assert body.output_filter == ("scores",)
    assert body.metadata_uid is None
    assert body.columns["x"].dtype == np.float32
    assert body.columns["x"].tolist() == [[1, 2], [3, 4]]
    assert body.columns["s"].tolist() == [b"a", b"\xff"]


def test_what_a_request_does_not_say_is_none() -> None:
    """The headers may say it, or there are defaults."""
    body = decode_predict_request(encode_predict_request({"x": np.array([1], np.int64)}))

    assert body.servable_name is None
    assert (body.version, body.label) == (None, None)
    assert body.signature_name is None
    assert body.output_filter == ()


def test_version_zero_is_a_version() -> None:
    """It is not the same as none."""
    assert decode_predict_request(encode_predict_request({}, version=0)).version == 0


def test_a_label_may_stand_for_the_version_but_not_beside_it() -> None:
    """As in TF Serving's oneof."""
    assert decode_predict_request(encode_predict_request({}, label="stable")).label == "stable"
    with pytest.raises(ValueError, match="not both"):
        encode_predict_request({}, version=1, label="stable")


def test_a_response_names_the_version_that_answered() -> None:
    """With its outputs."""
    outputs = {"scores": np.array([[0.1, 0.9]], np.float32)}

    body = decode_predict_response(encode_predict_response(outputs, "digits", 7, "predict"))

    assert (body.servable_name, body.version, body.signature_name) == ("digits", 7, "predict")
    assert body.columns["scores"].tolist() == outputs["scores"].tolist()


@pytest.mark.parametrize(
    ("uid", "value"),
    [
        (strings(b"u"), b"u"),
        (strings(b"u", b"u"), b"u"),
        (strings(b"u", b"v"), None),
        (np.array([7]), None),
        (np.empty(0, dtype=object), None),
    ],
)
def test_metadata_uid_is_the_one_string_of_that_input(
    uid: NDArray[Any], value: bytes | None
) -> None:
    """Rows may repeat it; it stays among the columns, last, for a model that declares it."""
    body = decode_predict_request(
        encode_predict_request(
            {"metadata_uid": uid, "a": np.array([1], np.int64), "z": np.array([1], np.int64)}
        )
    )

    assert body.metadata_uid == value
    assert list(body.columns)[-1] == "metadata_uid"


def test_metadata_uid_stands_for_the_header_that_is_missing() -> None:
    """And the header wins where both are there."""
    columns = {"x": np.array([[1, 2]] * 3, np.float32), "metadata_uid": strings(RECORD_ID.encode())}
    value = encode_predict_request(columns, servable_name="digits")
    headers: list[tuple[str, bytes | None]] = [
        (names.SPECVERSION, b"1.0"),
        (names.TYPE, b"topicserve.input"),
        (names.SOURCE, b"/test"),
        (names.CONTENT_TYPE, b"application/x-protobuf"),
    ]
    other = "00000000-0000-4000-8000-000000000000"

    without = decode_input(KafkaRecord("t", 0, 0, 0, None, value, headers))
    with_header = decode_input(
        KafkaRecord("t", 0, 0, 0, None, value, [*headers, (names.ID, other.encode())])
    )

    assert without.record_id == RECORD_ID
    assert with_header.record_id == other
    assert without.form is Form.TENSORS
    assert without.rows == 3


def test_null_is_refused() -> None:
    """Kafka's tombstones are no requests."""
    with pytest.raises(InvalidRecordError, match="value: is null; a PredictRequest was expected"):
        decode_predict_request(None)
    with pytest.raises(InvalidRecordError, match="value: is null; a PredictResponse was expected"):
        decode_predict_response(None)


def test_what_is_no_message_is_refused() -> None:
    """The kind that was expected is named."""
    with pytest.raises(InvalidRecordError, match=r"^value: is not a PredictRequest: "):
        decode_predict_request(b'{"instances": []}')


def test_a_negative_version_is_refused() -> None:
    """Versions are directories' names."""
    request = a_request()
    request.model_spec.version.value = -1

    assert decode_error(request) == "model_spec.version: must not be negative, found -1"


def test_a_tensor_that_contradicts_itself_is_named() -> None:
    """Too few values for its shape, and no one value to repeat."""
    request = a_request()
    request.inputs["x"].tensor_content = b"\0\0\0"

    assert decode_error(request).startswith("inputs.x: ")


def test_a_dtype_that_no_column_has_is_named() -> None:
    """Such as a handle of a variable in someone's process."""
    request = a_request()
    request.inputs["x"].dtype = DataType.DT_RESOURCE

    assert decode_error(request).startswith("inputs.x: ")


@pytest.mark.parametrize("inputs", [1, 5])
def test_a_small_record_does_not_unfold_into_all_memory(inputs: int) -> None:
    """One value may stand for a whole tensor, up to a limit on all tensors together."""
    limits = Limits(max_unfolded_bytes=4000)
    request = PredictRequest()
    for number in range(inputs):
        tensor = request.inputs[f"x{number}"]
        tensor.dtype = DataType.DT_FLOAT
        tensor.float_val.append(1.0)
        tensor.tensor_shape.dim.add(size=1000 // inputs)
    assert len(decode_predict_request(request.SerializeToString(), limits).columns) == inputs

    request.inputs["x0"].tensor_shape.dim.add(size=2)

    assert "limits.max_unfolded_bytes allows 4000" in decode_error(request, limits)


def test_a_repeated_value_takes_no_memory_before_it_is_unfolded() -> None:
    """What it will take is known all the same."""
    request = PredictRequest()
    tensor = request.inputs["x"]
    tensor.dtype = DataType.DT_FLOAT
    tensor.float_val.extend([1.0, 2.0])
    tensor.tensor_shape.dim.add(size=1000)

    columns = decode_predict_request(request.SerializeToString(), keep_folded=True).columns

    assert (columns["x"].values.nbytes, columns_bytes(columns)) == (8, 4000)
    assert unfolded(columns)["x"].tolist() == [1.0] + [2.0] * 999


@pytest.mark.parametrize("empty", [False, True])
def test_absurd_shapes_are_refused(empty: bool) -> None:
    """Their product does not fit any integer of a machine, or would be as many empty lists."""
    request = a_request()
    for size in [2**62] * 5 + [0] * empty:
        request.inputs["x"].tensor_shape.dim.add(size=size)

    assert "is not a shape" in decode_error(request)


def test_a_shape_of_many_dimensions_is_refused_before_they_are_multiplied() -> None:
    """The key is named."""
    request = a_request()
    for _ in range(20_000):
        request.inputs["x"].tensor_shape.dim.add(size=2**63 - 1)

    assert "limits.max_dimensions allows 64" in decode_error(request)


@given(st.binary())
@settings(max_examples=examples(300))
def test_no_bytes_raise_anything_but_invalid_record(value: bytes) -> None:
    """Whatever is in a topic."""
    for decode in (decode_predict_request, decode_predict_response):
        try:
            decode(value)
        except InvalidRecordError as error:
            assert error.field  # noqa: PT017 (most bytes raise nothing)


@given(st.data())
@settings(max_examples=examples(300))
def test_no_damage_to_a_request_raises_anything_but_invalid_record(data: st.DataObject) -> None:
    """Bytes that are nearly a request get further than random ones."""
    columns = {
        "x": np.array([[1, 2]], np.float32),
        "metadata_uid": strings(b"u"),
        "n": np.array([3], np.int32),
    }
    value = bytearray(encode_predict_request(columns, servable_name="digits", version=1))
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    damaged = bytes(value[: data.draw(st.integers(0, len(value)))])

    try:
        decode_predict_request(damaged)
    except InvalidRecordError as error:
        assert error.field  # noqa: PT017 (some damage goes unnoticed)


@given(
    hnp.arrays(
        dtype=st.sampled_from([np.dtype(kind) for kind in (*"fdeilq", "uint8", "bool")]),
        shape=hnp.array_shapes(max_dims=3, max_side=4),
    )
)
def test_arrays_come_out_as_they_went_in(array: NDArray[Any]) -> None:
    """Of every dtype and shape that models take, bit for bit."""
    column = decode_predict_request(encode_predict_request({"x": array})).columns["x"]

    assert column.dtype == array.dtype
    assert column.shape == array.shape
    assert column.tobytes() == array.tobytes()


@given(st.lists(st.binary(max_size=20), max_size=5))
def test_strings_come_out_as_they_went_in(values: list[bytes]) -> None:
    """Any bytes, no text needed."""
    column = decode_predict_request(encode_predict_request({"s": strings(*values)})).columns["s"]

    assert column.tolist() == values


@pytest.mark.slow
def test_tf_servings_own_messages_are_the_same_on_the_wire() -> None:
    """What its client library writes we read, and the other way round."""
    apis = pytest.importorskip("tensorflow_serving.apis.predict_pb2")
    theirs = apis.PredictRequest()
    theirs.ParseFromString(
        encode_predict_request(
            {"x": np.array([[1, 2]], np.float32), "s": strings(b"a")},
            servable_name="digits",
            label="stable",
            output_filter=["y"],
        )
    )

    body = decode_predict_request(theirs.SerializeToString())

    assert theirs.model_spec.name == "digits"
    assert theirs.model_spec.version_label == "stable"
    assert list(theirs.output_filter) == ["y"]
    assert body.columns["x"].tolist() == [[1, 2]]
    assert body.columns["s"].tolist() == [b"a"]
    response = apis.PredictResponse()
    response.ParseFromString(
        encode_predict_response({"y": np.array([5], np.int64)}, "digits", 7, "p")
    )
    assert response.model_spec.version.value == 7
    assert PredictResponse.FromString(response.SerializeToString()).model_spec.name == "digits"
