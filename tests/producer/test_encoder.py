import uuid
from datetime import UTC, datetime
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.producer.encoder import EncodedRecord, RecordEncoder
from topicserve.producer.record import STORED_ELSEWHERE, Record
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.input_record import InputRecord, decode_input
from topicserve.wire.json_body import Form
from topicserve.wire.kafka_record import KafkaRecord

ID = "7f1d1d0c-6f0e-4d53-9d5b-0a4f5d7b6c11"


def encode(record: Record) -> EncodedRecord:
    """Return a record as it would be sent to the topic `digits`."""
    return RecordEncoder("digits", "/tests", "digits").encode(record)


def as_read(encoded: EncodedRecord) -> InputRecord:
    """Return what a worker makes of it."""
    sent = encoded.outgoing
    return decode_input(KafkaRecord(sent.topic, 0, 0, 0, sent.key, sent.value, sent.headers))


leaves = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.floats(allow_nan=False, allow_infinity=False),
    st.booleans(),
    st.text(),
    st.binary(),
)
trees = st.recursive(
    leaves,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(min_size=4), inner),
    max_leaves=12,
)


@given(tree=trees)
def test_a_worker_reads_the_instance_that_was_published(tree: Any) -> None:
    """Numbers, text, bytes, lists and objects survive the way unchanged."""
    sent = encode(Record(instance=tree))

    assert as_read(sent).payload == tree


@given(rows=st.lists(trees, min_size=1, max_size=3))
def test_rows_and_columns_are_read_as_published(rows: list[Any]) -> None:
    """`instances` and `inputs` are TF Serving's bodies, with their rows counted."""
    by_row, by_column = (
        as_read(encode(Record(instances=rows))),
        as_read(encode(Record(inputs={"x": rows}))),
    )

    assert (by_row.payload, by_row.rows) == (rows, len(rows))
    assert (by_column.payload, by_column.rows) == ({"x": rows}, len(rows))


@pytest.mark.parametrize(
    "array",
    [
        np.arange(6, dtype=np.float32).reshape(2, 3),
        np.arange(12, dtype=np.int64).reshape(3, 4)[:, ::2],
        np.array([b"a", b"\xff"], dtype=object),
        np.array(["a", "é"]),
        np.array([True, False]),
        np.array([0.5, 0.25], dtype=np.float16),
    ],
    ids=lambda array: str(array.dtype),
)
def test_arrays_are_published_as_their_values(array: np.ndarray[Any, Any]) -> None:
    """A numpy array of any dtype and layout stands for its nested lists."""
    sent = encode(Record(instance={"x": array}))

    assert as_read(sent).payload == {"x": array.tolist()}


def test_tensors_are_published_as_tf_serving_requests() -> None:
    """Columns come back as they were, with their dtypes and rows."""
    columns = {
        "x": np.arange(6, dtype=np.float16).reshape(2, 3),
        "text": np.array([b"a", b"\xff"], dtype=object),
    }

    read = as_read(encode(Record(tensors=columns, record_id=ID)))

    assert (read.form, read.rows, read.record_id) == (Form.TENSORS, 2, ID)
    assert read.target.servable == "digits"
    for name, column in columns.items():
        np.testing.assert_array_equal(read.content[name], column)
        assert read.content[name].dtype == column.dtype


def test_headers_say_everything_that_the_record_says() -> None:
    """A worker reads servable, version, signature, deadline and trace context from headers."""
    deadline = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
    record = Record(
        instance=[1.0],
        record_id=ID,
        servable="faces",
        version=3,
        signature_name="embed",
        deadline=deadline,
        traceparent="00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
        tracestate="a=b",
    )

    read = as_read(encode(record))

    assert read.record_id == ID
    assert read.target.servable == "faces"
    assert (read.target.version, read.target.label) == (3, None)
    assert read.target.signature_name == "embed"
    assert read.deadline == deadline
    assert dict(read.trace)["tracestate"] == b"a=b"
    assert dict(read.trace)["traceparent"] is not None


def test_the_producer_fills_in_what_the_record_leaves_open() -> None:
    """A new UUID, the record id as key, and the producer's servable."""
    sent = encode(Record(instance=1))

    assert uuid.UUID(sent.record_id).version == 4
    assert sent.outgoing.key == sent.record_id.encode()
    assert as_read(sent).target.servable == "digits"


def test_keys_may_be_text_or_bytes() -> None:
    """A key of the caller's own keeps the order among its records."""
    assert encode(Record(instance=1, key="camera-7")).outgoing.key == b"camera-7"
    assert encode(Record(instance=1, key=b"\x00")).outgoing.key == b"\x00"


def test_only_missing_metadata_is_declared_absent() -> None:
    """Metadata given, and metadata stored by somebody else, are looked for by the worker."""
    absent = encode(Record(instance=1))
    given_ = encode(Record(instance=1, metadata={"row": np.int64(7)}))
    elsewhere = encode(Record(instance=1, metadata=STORED_ELSEWHERE))

    assert (absent.metadata, as_read(absent).metadata_absent) == (None, True)
    assert (given_.metadata, as_read(given_).metadata_absent) == (b'{"row":7}', False)
    assert (elsewhere.metadata, as_read(elsewhere).metadata_absent) == (None, False)


def test_text_that_says_null_is_no_null() -> None:
    """Only the value null is refused, not the word."""
    assert orjson.loads(encode(Record(instance="null")).outgoing.value or b"") == {
        "instance": "null"
    }


@pytest.mark.parametrize(
    ("record", "field"),
    [
        (Record(), "record"),
        (Record(instance=1, instances=[1]), "record"),
        (Record(instances=[]), "instances"),
        (Record(instances=5), "instances"),  # type: ignore[arg-type]
        (Record(inputs={}), "inputs"),
        (Record(inputs={"x": "text"}), "inputs"),
        (Record(inputs=np.float32(1.0)), "inputs"),  # type: ignore[arg-type]
        (Record(tensors={}), "tensors"),
        (Record(tensors={"x": np.float32(1.0)}), "tensors"),  # type: ignore[dict-item]
        (Record(tensors={"x": np.array([object()])}), "tensors"),
        (Record(instance=[0.5, float("nan")]), "instance[1]"),
        (Record(instances=[{"x": np.array([np.inf])}]), "instances[0].x[0]"),
        (Record(instance=object()), "instance"),
        (Record(instance={1: 2}), "instance"),
        (Record(instance=2**70), "instance"),
        (Record(instance=1, metadata=[1]), "metadata"),  # type: ignore[arg-type]
        (Record(instance=1, metadata={"x": object()}), "metadata"),
        (Record(instance=1, record_id="seven"), "record_id"),
        (Record(instance=1, version=-1), "version"),
        (Record(instance=1, version=2**63), "version"),
        (Record(instance=1, version=1, label="stable"), "label"),
        (Record(instance=1, deadline=datetime(2030, 1, 1)), "deadline"),
    ],
)
def test_an_invalid_record_is_refused_by_its_field(record: Record, field: str) -> None:
    """What a worker would give up is refused where it can still be mended."""
    with pytest.raises(InvalidRecordError) as caught:
        encode(record)

    assert caught.value.field == field


def test_a_source_is_required() -> None:
    """CloudEvents has no event without a source."""
    with pytest.raises(InvalidRecordError, match="source"):
        RecordEncoder("digits", "")
