import uuid
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import Any, NamedTuple

import numpy as np
import orjson
import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from topicserve.backends.references.header import Reference, read_reference
from topicserve.producer.encoder import EncodedRecord, RecordEncoder
from topicserve.producer.record import STORED_ELSEWHERE, Record
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.input_record import InputRecord, decode_input
from topicserve.wire.json_codec.body import Form
from topicserve.wire.kafka_record import KafkaRecord

ID = "7f1d1d0c-6f0e-4d53-9d5b-0a4f5d7b6c11"


def encode(record: Record) -> EncodedRecord:
    """Return a record as it would be sent to the topic `digits`."""
    return RecordEncoder("digits", "/tests", "digits").encode(record)


class Series:
    """A column as pandas has it: no sequence, and indexed by its labels."""

    def __init__(self, values: list[Any], dtype: str | None = None) -> None:
        self._values = np.array(values, dtype)
        self.dtype = self._values.dtype

    def __array__(self, dtype: Any = None, copy: Any = None) -> np.ndarray[Any, Any]:
        return self._values

    def __iter__(self) -> Iterator[Any]:
        return iter(self._values)

    def __len__(self) -> int:
        return len(self._values)

    def tolist(self) -> list[Any]:
        return list(self._values.tolist())


class DataFrame:
    """A table as pandas has it: it yields the names of its columns."""

    def __iter__(self) -> Iterator[str]:
        return iter(["n"])


class Timestamp(date):
    """A date of another library."""


@dataclass
class Point:
    """What a person may have in metadata."""

    x: float
    y: float


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
    """`instances` and `inputs` are TF Serving's bodies."""
    by_row, by_column = (
        as_read(encode(Record(instances=rows))),
        as_read(encode(Record(inputs={"x": rows}))),
    )

    assert by_row.payload == rows
    assert by_column.payload == {"x": rows}


def is_ragged(row: Any) -> bool:
    """Return whether lists of a row are of different lengths, or beside values."""
    try:
        np.asarray(row)
    except ValueError:
        return True
    return False


@given(row=trees, count=st.integers(1, 3))
@example(row=[0, [], [], []], count=1)
def test_rows_that_are_alike_are_counted(row: Any, count: int) -> None:
    """How many others are is estimated until they are read, and those that no tensor can hold."""
    assume(not is_ragged(row))
    rows = [row] * count

    assert as_read(encode(Record(instances=rows))).rows == count
    assert as_read(encode(Record(inputs={"x": rows}))).rows == count


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

    sent = encode(record)
    read = as_read(sent)

    assert read.record_id == ID
    assert read.target.servable == "faces"
    assert (read.target.version, read.target.label) == (3, None)
    assert read.target.signature_name == "embed"
    assert read.deadline == deadline
    assert dict(sent.outgoing.headers)["ce_expirytime"] == b"2030-01-02T03:04:05+00:00"
    assert dict(read.trace)["tracestate"] == b"a=b"
    assert dict(read.trace)["traceparent"] is not None


def test_the_producer_fills_in_what_the_record_leaves_open() -> None:
    """A new UUIDv7, the record id as key, and the producer's servable."""
    sent = encode(Record(instance=1))

    assert uuid.UUID(sent.record_id).version == 7
    assert sent.outgoing.key == sent.record_id.encode()
    assert as_read(sent).target.servable == "digits"


def test_keys_may_be_text_or_bytes() -> None:
    """A key of the caller's own keeps the order among its records."""
    assert encode(Record(instance=1, key="camera-7")).outgoing.key == b"camera-7"
    assert encode(Record(instance=1, key=b"\x00")).outgoing.key == b"\x00"


def test_only_missing_metadata_is_declared_absent() -> None:
    """Metadata given, and metadata stored by someone else, are looked for by the worker."""
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
        (Record(inputs={"x": []}), "inputs.x"),
        (Record(instances=DataFrame()), "instances"),
        (Record(instances={1.0, 2.0}), "instances"),
        (Record(instances="text"), "instances"),
        (Record(inputs=np.float32(1.0)), "inputs"),  # type: ignore[arg-type]
        (Record(tensors=[1.0]), "tensors"),  # type: ignore[arg-type]
        (Record(tensors={"x": [1.0]}), "tensors.x"),
        (Record(tensors={"x": []}), "tensors.x"),
        (Record(tensors={"x": [["a"], ["b", "c"]]}), "tensors.x"),
        (Record(tensors={"x": np.array([object()])}), "tensors"),
        (Record(instance=[0.5, None]), "instance[1]"),
        (Record(instances=[{"x": np.array([None, np.nan])}]), "instances[0].x[0]"),
        (Record(instance=object()), "instance"),
        (Record(instance={1: 2}), "instance"),
        (Record(instance=2**70), "instance"),
        (Record(instance=1, metadata=[1]), "metadata"),  # type: ignore[arg-type]
        (Record(instance=1, metadata={"x": object()}), "metadata"),
        (Record(instance=1, metadata="x"), "metadata"),  # type: ignore[arg-type]
        (Record(instance=1, metadata={"a": [1, {"b": float("nan")}]}), "metadata.a[1].b"),
        (Record(instance=1, metadata={"a": np.array([1, -np.inf])}), "metadata.a[1]"),
        (Record(instance=1, metadata={"a": None, "b": np.float32("nan")}), "metadata.b"),
        (Record(instance=1, metadata={"a": Point(0, float("inf"))}), "metadata.a.y"),
        (Record(instance=1, record_id="se ven"), "record_id"),
        (Record(instance=1, record_id=7), "record_id"),  # type: ignore[arg-type]
        (Record(instance=1, record_id=b"seven"), "record_id"),  # type: ignore[arg-type]
        (Record(instance=1, key=7), "key"),  # type: ignore[arg-type]
        (Record(instance=1, servable=7), "servable"),  # type: ignore[arg-type]
        (Record(instance=1, servable="\ud800"), "servable"),
        (Record(instance=1, label=7), "label"),  # type: ignore[arg-type]
        (Record(instance=1, signature_name=b"x"), "signature_name"),  # type: ignore[arg-type]
        (Record(instance=1, traceparent=7), "traceparent"),  # type: ignore[arg-type]
        (Record(instance=1, version="2"), "version"),  # type: ignore[arg-type]
        (Record(instance=1, version=True), "version"),
        (Record(instance=1, deadline="2030-01-01"), "deadline"),  # type: ignore[arg-type]
        (Record(instance=1, version=-1), "version"),
        (Record(instance=1, version=2**63), "version"),
        (Record(instance=1, version=1, label="stable"), "label"),
        (Record(instance=1, deadline=datetime(2030, 1, 1)), "deadline"),
    ],
)
def test_an_invalid_record_is_refused_by_its_field(record: Record, field: str) -> None:
    """What a worker would give up is refused where it can still be corrected."""
    with pytest.raises(InvalidRecordError) as caught:
        encode(record)

    assert caught.value.field == field


@pytest.mark.parametrize(
    "rows",
    [
        Series([1.5, 2.5]),
        np.array([1.5, 2.5]),
        np.array([1.5, 2.5], np.float16),
        (1.5, 2.5),
        deque([1.5, 2.5]),
        {1.5: "a", 2.5: "b"}.keys(),
        [np.float32(1.5), 2.5],
    ],
    ids=lambda rows: type(rows).__name__,
)
def test_rows_may_be_any_iterable(rows: Any) -> None:
    """A column of a data frame, an array, a tuple: in each form, and inside an object."""
    for record, payload in (
        (Record(instances=rows), [1.5, 2.5]),
        (Record(inputs=rows), [1.5, 2.5]),
        (Record(inputs={"x": rows}), {"x": [1.5, 2.5]}),
        (Record(instance=rows), [1.5, 2.5]),
        (Record(instance={"x": rows}), {"x": [1.5, 2.5]}),
    ):
        assert as_read(encode(record)).payload == payload


class Row(Series):
    """A row or a column as pandas has it, with a label for each value."""

    def __init__(self, values: list[Any], index: list[Any]) -> None:
        super().__init__(values)
        self.index = index

    def to_dict(self) -> dict[Any, Any]:
        return dict(zip(self.index, self.tolist(), strict=True))


class Pair(NamedTuple):
    """A row as DataFrame.itertuples has it."""

    b: float
    a: float


_STRUCTURED = np.array([(1.0, 2.0)], [("b", "f4"), ("a", "f4")])


@pytest.mark.parametrize(
    ("row", "remedy"),
    [
        (Row([1.0, 2.0], ["b", "a"]), r"row\.to_dict\(\)"),
        (Pair(1.0, 2.0), r"row\._asdict\(\)"),
        (_STRUCTURED[0], r"dict\(zip\(row\.dtype\.names"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_names_of_a_row_are_not_lost(row: Any, remedy: str) -> None:
    """It is refused with what to give: a worker would read the values in another order."""
    for record, field in (
        (Record(instance=row), "instance"),
        (Record(instances=[[1.0, 2.0], row]), r"instances\[1\]"),
        (Record(instances=iter([row])), r"instances\[0\]"),
        (Record(inputs={"x": [row]}), r"inputs\.x\[0\]"),
    ):
        with pytest.raises(InvalidRecordError, match=f"^{field}: .*{remedy}"):
            encode(record)


@pytest.mark.parametrize("columns", [Pair(1.0, 2.0), _STRUCTURED], ids=["namedtuple", "structured"])
def test_names_of_columns_are_not_lost(columns: Any) -> None:
    """Neither of a structured array, nor of a namedtuple with a column in each field."""
    for record in (Record(instances=columns), Record(inputs=columns)):
        with pytest.raises(InvalidRecordError, match="names would be lost"):
            encode(record)


def test_a_column_of_a_frame_may_have_labels() -> None:
    """They name its rows; a row that is numbered from 0 is a list."""
    column = Row([1.5, 2.5], ["mon", "tue"])

    assert as_read(encode(Record(instances=column))).payload == [1.5, 2.5]
    assert as_read(encode(Record(inputs={"x": column}))).payload == {"x": [1.5, 2.5]}
    assert as_read(encode(Record(instance=Row([1.5, 2.5], [0, 1])))).payload == [1.5, 2.5]


@pytest.mark.parametrize("dtype", [">f4", ">f8", ">i2", ">u8", "<f4", "<i4"])
def test_arrays_of_any_byte_order_are_published(dtype: str) -> None:
    """In every form, also within other values."""
    array = np.array([[1, 2]], dtype)

    for record, payload in (
        (Record(instance=array), [[1, 2]]),
        (Record(instance={"x": [array[0]]}), {"x": [[1, 2]]}),
        (Record(instances=array), [[1, 2]]),
        (Record(inputs={"x": array}), {"x": [[1, 2]]}),
    ):
        assert as_read(encode(record)).payload == payload
    tensors = as_read(encode(Record(tensors={"x": array}))).content
    assert tensors["x"].tolist() == [[1, 2]]
    assert encode(Record(instance=1, metadata={"a": array[0]})).metadata in (
        b'{"a":[1,2]}',
        b'{"a":[1.0,2.0]}',
    )


def test_names_may_be_numpys_text() -> None:
    """As those of a data frame's columns are; a number is no name."""
    name: Any = np.str_("x")

    assert as_read(encode(Record(instance={name: [1, {name: 2}]}))).payload == {"x": [1, {"x": 2}]}
    assert encode(Record(instance=1, metadata={name: 1})).metadata == b'{"x":1}'
    with pytest.raises(InvalidRecordError, match="Dict key must be str"):
        encode(Record(instance={name: 1, 2: 3}))


@pytest.mark.parametrize("other", [np.array([1], ">f4"), float("nan")], ids=str)
def test_what_is_read_once_is_not_lost_on_a_second_reading(other: Any) -> None:
    """Some values are written in two steps; a generator would be empty in the second."""
    with pytest.raises(InvalidRecordError, match="generator can be read once only"):
        encode(Record(instance={"x": (n for n in range(3)), "y": other}))


class NotATime(datetime):
    """pandas' NaT: a datetime to isinstance, and equal to nothing."""

    __hash__ = None  # type: ignore[assignment]

    def __eq__(self, other: object) -> bool:
        return False

    def __ne__(self, other: object) -> bool:
        return True

    def utcoffset(self) -> Any:
        raise ValueError("NaTType does not support utcoffset")


def test_no_time_is_no_deadline() -> None:
    """A column of deadlines has NaT where a row has none."""
    assert as_read(encode(Record(instance=1, deadline=NotATime(2030, 1, 1)))).deadline is None


def test_rows_may_be_made_one_by_one() -> None:
    """A generator is read once."""
    assert as_read(encode(Record(instances=(n / 2 for n in range(3))))).rows == 3


def test_lists_of_text_and_bytes_may_be_tensors() -> None:
    """Their dtype is not open; that of numbers is, and must be said."""
    tensors: Any = {"text": [["a"], ["é"]], "raw": [b"\xff\0", b"b"], "flag": [True, False]}

    read = as_read(encode(Record(tensors=tensors))).content

    assert read["text"].tolist() == [[b"a"], ["é".encode()]]
    assert read["raw"].tolist() == [b"\xff\0", b"b"]
    assert read["flag"].tolist() == [True, False]


def test_columns_of_a_frame_may_be_tensors() -> None:
    """They have their dtype."""
    read = as_read(encode(Record(tensors={"n": Series([1, 2], "int32")}))).content

    assert (read["n"].dtype, read["n"].tolist()) == (np.int32, [1, 2])


def test_a_value_may_stand_beside_rows() -> None:
    """The signature says which inputs are of the whole call; the worker knows it."""
    inputs = {"x": [[1.0], [2.0]], "keep": 0.5, "name": "a"}

    assert as_read(encode(Record(inputs=inputs))).payload == inputs


@given(tree=st.recursive(st.floats() | st.text(), st.lists, max_leaves=8))
def test_numbers_that_json_lacks_travel_in_bodies(tree: Any) -> None:
    """As tokens, which the worker reads; text that says null or NaN is left alone."""
    for record in (Record(instance=tree), Record(instances=[{"null": tree}])):
        read = as_read(encode(record)).payload
        assert repr(read) == repr(tree if record.instances is None else [{"null": tree}])


def test_metadata_is_json_to_the_letter() -> None:
    """None is null, and whatever JSON has stays."""
    metadata = {"a": None, "b": [1.5, "NaN"], "when": datetime(2030, 1, 2, tzinfo=UTC)}

    assert orjson.loads(encode(Record(instance=1, metadata=metadata)).metadata or b"") == {
        "a": None,
        "b": [1.5, "NaN"],
        "when": "2030-01-02T00:00:00+00:00",
    }


def test_what_no_json_can_say_is_named_with_the_remedy() -> None:
    """A frame yields the names of its columns, which no one means."""
    with pytest.raises(InvalidRecordError, match=r'give instances=frame.to_dict\("records"\)'):
        encode(Record(instance=DataFrame()))
    with pytest.raises(InvalidRecordError, match="object is not among numbers, text"):
        encode(Record(instance={"x": object()}))


def test_a_date_of_another_library_is_text_in_metadata() -> None:
    """As a date of Python's own is."""
    metadata = {"when": Timestamp(2030, 1, 2)}

    assert encode(Record(instance=1, metadata=metadata)).metadata == b'{"when":"2030-01-02"}'


def test_a_source_is_required() -> None:
    """CloudEvents has no event without a source."""
    with pytest.raises(InvalidRecordError, match="source"):
        RecordEncoder("digits", "")


@pytest.mark.parametrize("record", [Record(instance={}), Record(inputs={}), Record(tensors={})])
def test_a_record_may_give_no_input(record: Record) -> None:
    """A signature may have none, or defaults for all: the worker knows."""
    assert as_read(encode(record)).rows == 1


@pytest.mark.parametrize(
    ("body", "content_type", "sent", "payload"),
    [
        (b"\x89PNG", "image/png", "image/png", b"\x89PNG"),
        (bytearray(b"\x00"), None, "application/octet-stream", b"\x00"),
        ("größer", None, "text/plain; charset=utf-8", "größer".encode()),
        (b"\xfc", "text/plain; charset=latin-1", "text/plain; charset=latin-1", "ü".encode()),
        ("", "text/plain", "text/plain", b""),
    ],
)
def test_a_body_is_sent_as_it_is(
    body: Any, content_type: str | None, sent: str, payload: bytes
) -> None:
    """With its content type; a worker reads the string that the model is given."""
    encoded = encode(Record(body=body, content_type=content_type))

    assert dict(encoded.outgoing.headers)["content-type"] == sent.encode()
    assert as_read(encoded).payload == payload


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (Record(body=7), "body: must be bytes or text, found int"),  # type: ignore[arg-type]
        (Record(body="\ud800"), "body: has no UTF-8"),
        (Record(body=b"", content_type="png"), "content_type: must be such as image/png"),
        (Record(body=b"", content_type="image/*"), "content_type: must be such as image/png"),
        (Record(body=b"", content_type="image/png\n"), "content_type: must be text"),
        (Record(body="a", content_type="text/plain; charset=gbk"), "content_type: has a charset"),
        (Record(instance=1, content_type="image/png"), "content_type: belongs to body"),
        (Record(instance=1, body=b""), "record: must be given in exactly one form"),
    ],
)
def test_a_body_that_cannot_be_sent_is_refused(record: Record, problem: str) -> None:
    """With the field at fault."""
    with pytest.raises(InvalidRecordError, match=problem):
        encode(record)


def test_a_body_that_lies_elsewhere_is_named_by_headers() -> None:
    """With its hash where that is given; the value is empty and nothing is read."""
    digest = "ab" * 32
    record = Record(dataref="s3://b/a%20b", dataref_sha256=digest, content_type="image/png")

    sent = encode(record).outgoing

    assert sent.value == b""
    assert dict(sent.headers)["content-type"] == b"image/png"
    assert read_reference(sent.headers) == Reference("s3://b/a%20b", digest)
    plain = encode(Record(dataref="s3://b/a", content_type="application/json")).outgoing
    assert read_reference(plain.headers) == Reference("s3://b/a")


@pytest.mark.parametrize(
    ("record", "problem"),
    [
        (Record(dataref="s3://b/a"), "content_type: is missing: that of the body at dataref"),
        (Record(dataref="s3://b/a b", content_type="image/png"), "ce_dataref: must be a URL"),
        (Record(dataref="s3://b/ü", content_type="image/png"), "dataref: must be text of ASCII"),
        (
            Record(dataref="s3://b/a", dataref_sha256="1", content_type="image/png"),
            "ce_datarefhash: must be sha256",
        ),
        (Record(dataref="s3://b/a", instance=1), "record: must be given in exactly one form"),
    ],
)
def test_a_reference_that_is_none_is_refused(record: Record, problem: str) -> None:
    """Before it is published: a worker would give the record up."""
    with pytest.raises(InvalidRecordError, match=problem):
        encode(record)
