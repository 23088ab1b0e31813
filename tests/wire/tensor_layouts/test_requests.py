"""Requests of a known layout mean what protobuf reads in them, and are refused as it does."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from topicserve.protos import tensor_pb2 as pb
from topicserve.protos.predict_pb2 import PredictRequest
from topicserve.wire import header_names as names
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.input_record import InputReader, InputRecord, decode_input
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.protobuf_codec import encode_predict_request

RECORD_ID = "7f2e0f0a-8f5f-4b59-9a0a-6f9f7f0d5d10"
OTHER_ID = "00000000-0000-4000-8000-000000000000"
HEADERS: list[tuple[str, bytes | None]] = [
    (names.SPECVERSION, b"1.0"),
    (names.TYPE, b"topicserve.input"),
    (names.SOURCE, b"/test"),
    (names.CONTENT_TYPE, b"application/x-protobuf"),
]
DTYPES = ("<f4", "<f8", "<i4", "<i8", "u1", "<f2", "<c8", "?", "bfloat16")
tensors = st.tuples(
    st.sampled_from(DTYPES), st.lists(st.integers(0, 3), max_size=3), st.integers(0, 9)
)


def strings(*values: bytes) -> NDArray[Any]:
    """Return a column of strings."""
    column = np.empty(len(values), dtype=object)
    column[:] = values
    return column


def an_array(dtype: str, shape: Sequence[int], first: int) -> NDArray[Any]:
    """Return numbers that count up from one."""
    if dtype == "bfloat16":
        ml_dtypes = pytest.importorskip("ml_dtypes")
        return np.asarray(an_array("<f4", shape, first), ml_dtypes.bfloat16)
    size = int(np.prod(shape))
    return np.arange(first, first + size).astype(dtype).reshape(shape)


def a_record(value: bytes | None, record_id: str | None = RECORD_ID, **more: bytes) -> KafkaRecord:
    """Return a record with that body."""
    own = [] if record_id is None else [(names.ID, record_id.encode())]
    headers = [*HEADERS, *own, *more.items()]
    return KafkaRecord("t", 0, 0, 0, None, value, headers)


def decoded(record: KafkaRecord, reader: InputReader) -> Any:
    """Return everything that a record was read as, or what is wrong with it."""
    try:
        found = decode_input(record, reader)
        payload = found.payload
    except InvalidRecordError as error:
        return str(error)
    columns = [
        (name, column.dtype.str, column.shape, column.tolist() if "O" in column.dtype.str else None)
        + (column.tobytes(),) * (not column.dtype.hasobject)
        for name, column in payload.items()
    ]
    return (
        *(found.record_id, found.target, found.form, found.rows, found.deadline),
        *(found.metadata_absent, found.trace, found.output_filter, found.held_bytes),
        columns,
    )


def by_protobuf(record: KafkaRecord, reader: InputReader) -> Any:
    """Return what a reader would read that knows the same headers, and no layout."""
    other = InputReader()
    other.read_headers = reader.read_headers
    return decoded(record, other)


def reader_of(*values: bytes) -> InputReader:
    """Return a reader that has seen each of these bodies often enough to know its layout."""
    reader = InputReader()
    for value in values:
        for _ in range(2):
            decoded(a_record(value), reader)
    return reader


def layout_of(value: bytes, reader: InputReader) -> Any:
    """Return the layout that a body is read by."""
    return decode_input(a_record(value), reader).layout


def body(*values: float, **more: Any) -> bytes:
    """Return a request for a row of these floats."""
    return encode_predict_request({"x": np.array([values], np.float32)}, **more)


def test_the_third_request_of_a_client_is_read_by_its_layout() -> None:
    """The first may be the only one of its kind, and the second shows that it is not."""
    reader = InputReader()

    found = [layout_of(body(n, 2.5), reader) for n in range(4)]

    assert found[:2] == [None, None]
    assert found[2] is found[3] is not None


def test_requests_of_one_layout_are_read_at_once() -> None:
    """Their rows one after the other, in arrays that a servable may write to."""
    reader = reader_of(body(1, 2))
    values = [body(n, -n) for n in range(1000)]

    columns = layout_of(values[0], reader).read_all(values)

    assert columns["x"].tolist() == [[n, -n] for n in range(1000)]
    assert columns["x"].dtype == np.float32
    columns["x"][0] = 7


@pytest.mark.parametrize("at", [0, 1, 2])
def test_several_tensors_are_read_at_once(at: int) -> None:
    """Also beside a record id, which no model is fed with."""
    columns = {
        "a": np.array([[at, 2, 3]], np.float64),
        "b": np.array([[[4], [at]]], np.int64),
        "metadata_uid": strings(RECORD_ID.encode()),
    }
    others = {**columns, "a": columns["a"] + 1, "metadata_uid": strings(OTHER_ID.encode())}
    values = [encode_predict_request(one) for one in (columns, others)]
    reader = reader_of(values[0])

    layout = layout_of(values[1], reader)
    found = layout.read_all(values)

    assert layout.uid(values[1]) == OTHER_ID.encode()
    assert found.keys() == {"a", "b"}
    assert found["a"].tolist() == [[at, 2, 3], [at + 1, 3, 4]]
    assert found["b"].tolist() == [[[4], [at]]] * 2


def test_the_record_id_may_come_as_an_input_of_a_known_layout() -> None:
    """The header wins, and what is no id is refused as ever."""
    columns = {"x": np.array([[1.0]]), "metadata_uid": strings(RECORD_ID.encode())}
    value = encode_predict_request(columns)
    reader = reader_of(value)
    other = value.replace(RECORD_ID.encode(), OTHER_ID.encode())
    none = value.replace(RECORD_ID.encode(), b"\n" * len(RECORD_ID))

    assert decode_input(a_record(other, None), reader).record_id == OTHER_ID
    assert decode_input(a_record(other), reader).record_id == RECORD_ID
    for record in (a_record(none, None), a_record(none), a_record(body(1), None)):
        assert decoded(record, reader) == by_protobuf(record, reader)


def test_headers_stand_for_what_the_body_does_not_say() -> None:
    """Requests of one layout may come with different headers."""
    reader = reader_of(body(1))
    records = [
        a_record(body(2), ce_servable=b"a"),
        a_record(body(2), ce_servable=b"b", ce_servableversion=b"3"),
        a_record(body(2), ce_servable=b"a", ce_servablelabel=b"stable"),
        a_record(body(2), ce_servable=b"a"),
    ]

    for record in records:
        assert decoded(record, reader) == by_protobuf(record, reader)


@pytest.mark.parametrize("field", ["float_val", "double_val"])
def test_floats_may_stand_in_their_own_list(field: str) -> None:
    """As clients write them that have no numpy; packed they lie as in an array."""
    request = PredictRequest()
    tensor = request.inputs["x"]
    tensor.dtype = pb.DT_FLOAT if field == "float_val" else pb.DT_DOUBLE
    tensor.tensor_shape.dim.add(size=1)
    tensor.tensor_shape.dim.add(size=3)
    getattr(tensor, field).extend([1.5, -2, 3])
    value = request.SerializeToString()
    reader = reader_of(value)

    assert layout_of(value, reader) is not None
    assert decoded(a_record(value), reader) == by_protobuf(a_record(value), reader)


def test_what_no_array_can_be_seen_in_has_no_layout() -> None:
    """Numbers of varying length, repeated values, booleans, text, and what is written twice."""
    repeated = PredictRequest()
    repeated.inputs["x"].dtype = pb.DT_FLOAT
    repeated.inputs["x"].tensor_shape.dim.add(size=9)
    repeated.inputs["x"].float_val.append(1)
    varints = PredictRequest()
    varints.inputs["x"].dtype = pb.DT_INT64
    varints.inputs["x"].tensor_shape.dim.add(size=2)
    varints.inputs["x"].int64_val.extend([1, 300])
    one = body(1.0)
    unknown = b"\x22\x00"
    values = [
        repeated.SerializeToString(),
        varints.SerializeToString(),
        encode_predict_request({"x": np.array([True])}),
        encode_predict_request({"x": strings(b"text")}),
        encode_predict_request({"x": np.zeros((0, 2))}),
        one + one,
        one + unknown,
    ]

    for value in values:
        assert layout_of(value, reader_of(value)) is None
        reader = reader_of(value)
        assert decoded(a_record(value), reader) == by_protobuf(a_record(value), reader)


@given(
    st.dictionaries(st.sampled_from(["x", "y", "metadata_uid", "é"]), tensors, max_size=3),
    st.data(),
)
def test_a_known_layout_reads_what_protobuf_reads(shapes: dict[str, Any], data: Any) -> None:
    """Any tensors, then the same with other numbers, and then with any bytes changed."""
    columns = {name: an_array(*tensor) for name, tensor in shapes.items()}
    if data.draw(st.booleans()):
        columns["metadata_uid"] = strings(RECORD_ID.encode())
    given_names = data.draw(st.sampled_from([{}, {"servable_name": "s", "version": 3}]))
    value = encode_predict_request(columns, **given_names)
    reader = reader_of(value)
    changed = bytearray(value)
    for _ in range(data.draw(st.integers(0, 4))):
        if changed:
            place = data.draw(st.integers(0, len(changed) - 1))
            changed[place] = data.draw(st.integers(0, 255))
    other = {
        name: column if column.dtype.hasobject else (column + column).astype(column.dtype)
        for name, column in columns.items()
    }

    for again in (value, encode_predict_request(other, **given_names), bytes(changed)):
        for record_id in (RECORD_ID, None):
            record = a_record(again, record_id)
            assert decoded(record, reader) == by_protobuf(record, reader)


@given(st.binary(max_size=64), st.binary(max_size=16), st.integers(0, 80))
def test_hostile_bytes_are_read_as_by_protobuf(noise: bytes, more: bytes, place: int) -> None:
    """Alone, and in the middle of a message whose layout is known."""
    known = body(1, 2, 3, servable_name="s")
    reader = reader_of(known, noise, known + more)
    inserted = known[:place] + more + known[place + len(more) :]

    for value in (noise, known, known + more, inserted, known[:place] + more, None):
        record = a_record(value)
        assert decoded(record, reader) == by_protobuf(record, reader)


def test_what_is_remembered_is_bounded() -> None:
    """However many layouts clients have, of one size or of many."""
    reader = InputReader()
    for number in range(3000):
        for _ in range(2):
            decode_input(a_record(body(1, servable_name=f"{number:06}")), reader)
    for number in range(1, 1500):
        for _ in range(2):
            decode_input(a_record(body(*range(number % 300), servable_name="s" * 5)), reader)

    layouts: Any = reader.layouts
    assert max(map(len, layouts._layouts.values())) <= 4
    assert len(layouts._layouts) <= 64
    assert len(layouts._misses) <= 1024


def test_long_names_are_not_remembered() -> None:
    """A producer chooses them; a layout keeps a copy."""
    value = body(1, signature_name="s" * 1000, output_filter=["o" * 1000] * 4)

    assert layout_of(value, reader_of(value)) is None


def test_a_client_that_changes_its_requests_is_learnt_again() -> None:
    """Such as the version that it names, in a message of the same size."""
    reader = reader_of(body(1, version=1))
    found: list[InputRecord] = []

    for version in range(2, 30):
        found += [decode_input(a_record(body(1, version=version)), reader) for _ in range(3)]

    assert [one.target.version for one in found] == [v for v in range(2, 30) for _ in range(3)]
    assert all(one.layout is not None for one in found[2::3])
