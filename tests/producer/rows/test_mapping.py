import math
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.producer.encoder import RecordEncoder
from topicserve.producer.record import STORED_ELSEWHERE
from topicserve.producer.rows.mapping import RowMapping, encode_rows
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.protobuf_codec import decode_predict_request

ENCODER = RecordEncoder("digits", "/test")
COLUMNS: dict[str, Any] = {
    "x": [1.5, 2.5, 3.5],
    "n": [1, 2, 3],
    "name": ["a", "b", "c"],
    "user": [7, 8, 9],
}


def as_frame(columns: dict[str, Any]) -> Any:
    """Return a data frame whose labels are no row numbers."""
    return pd.DataFrame(columns, index=list(range(10, 10 + len(columns["x"]))))


def as_arrays(columns: dict[str, Any]) -> Any:
    """Return numpy arrays by name."""
    return {name: np.array(column) for name, column in columns.items()}


def as_structured(columns: dict[str, Any]) -> Any:
    """Return a structured array."""
    kinds = [("x", "f8"), ("n", "i4"), ("name", "U8"), ("user", "i8")]
    return np.array(list(zip(*columns.values(), strict=True)), dtype=kinds)


def as_reader(columns: dict[str, Any]) -> Any:
    """Return a reader of batches, which can be read once."""
    table = pa.table(columns)
    return pa.RecordBatchReader.from_batches(table.schema, table.to_batches(max_chunksize=2))


class CStream:
    """What polars and other libraries hand out."""

    def __init__(self, columns: dict[str, Any]) -> None:
        self._table = pa.table(columns)

    def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
        return self._table.__arrow_c_stream__(requested_schema)


TABLES: list[Callable[[dict[str, Any]], Any]] = [
    dict,
    as_arrays,
    as_structured,
    as_frame,
    pa.table,
    as_reader,
    lambda columns: pa.RecordBatch.from_pydict(columns),
    CStream,
]
every_table = pytest.mark.parametrize("make", TABLES)


def published(rows: Any, **how: Any) -> list[dict[str, Any]]:
    """Return the bodies of a table's records."""
    return [orjson.loads(one.outgoing.value or b"") for one in encoded(rows, **how)]


def encoded(rows: Any, max_rows: int = 2, **how: Any) -> list[Any]:
    """Return a table's records encoded, some at a time."""
    found: list[Any] = []
    for records in RowMapping(**how).records(rows, max_rows):
        found += encode_rows(ENCODER.encode, records, len(found))
    return found


@every_table
def test_columns_become_objects_by_name(make: Any) -> None:
    """One record a row, in order, whatever library holds the table."""
    found = published(make(COLUMNS), metadata=["user"])

    assert found == [
        {"instance": {"x": x, "n": n, "name": name}}
        for x, n, name in zip(COLUMNS["x"], COLUMNS["n"], COLUMNS["name"], strict=True)
    ]


@every_table
def test_metadata_ids_and_keys_come_from_columns(make: Any) -> None:
    """And are no inputs then; numbers are ids and keys as text."""
    found = encoded(make(COLUMNS), metadata=["user", "name"], record_ids="n", keys="name")

    assert [one.record_id for one in found] == ["1", "2", "3"]
    assert [one.outgoing.key for one in found] == [b"a", b"b", b"c"]
    assert orjson.loads(found[2].metadata) == {"user": 9, "name": "c"}
    assert orjson.loads(found[2].outgoing.value) == {"instance": {"x": 3.5}}


@every_table
def test_a_row_may_be_a_list_or_one_columns_value(make: Any) -> None:
    """For models with one input."""
    assert published(make(COLUMNS), inputs=["n", "x"], vector=True) == [
        {"instance": [1, 1.5]},
        {"instance": [2, 2.5]},
        {"instance": [3, 3.5]},
    ]
    assert published(make(COLUMNS), inputs="name") == [{"instance": name} for name in "abc"]


@every_table
def test_rows_may_be_sent_as_tensors(make: Any) -> None:
    """Each with a batch dimension of one."""
    names = ["n", "name"]
    columns = {**COLUMNS, "n": np.array([1, 2, 3], np.int32)}

    found = encoded(make(columns), inputs=names, tensors=True)

    body = decode_predict_request(found[1].outgoing.value)
    assert body.columns["n"].tolist() == [2]
    assert body.columns["name"].tolist() == [b"b"]
    if make is not dict:
        assert body.columns["n"].dtype == np.int32


def test_rows_of_an_array_are_its_rows() -> None:
    """With their own precision: a float32 is as long as it need be."""
    array = np.array([[0.1, 0.2], [0.3, 0.4], [0.5, 0.6]], np.float32)

    found = encoded(array)

    assert [one.outgoing.value for one in found] == [
        b'{"instance":[0.1,0.2]}',
        b'{"instance":[0.3,0.4]}',
        b'{"instance":[0.5,0.6]}',
    ]
    assert published(np.arange(6).reshape(3, 2).T) == [
        {"instance": [0, 2, 4]},
        {"instance": [1, 3, 5]},
    ]
    assert published(np.array([b"a", b"b"])) == [
        {"instance": {"b64": "YQ=="}},
        {"instance": {"b64": "Yg=="}},
    ]


def test_metadata_beside_an_array_is_given_by_name() -> None:
    """A column has one value a row; anything else is that of all rows."""
    metadata = {"row": np.arange(3), "user": pd.Series([7.0, math.nan, 9.0]), "run": "a", "x": None}

    found = encoded(np.zeros((3, 2)), metadata=metadata, record_ids=(f"id-{n}" for n in range(3)))

    assert [orjson.loads(one.metadata) for one in found] == [
        {"run": "a", "x": None, "row": row, "user": user}
        for row, user in [(0, 7.0), (1, None), (2, 9.0)]
    ]
    assert [one.record_id for one in found] == ["id-0", "id-1", "id-2"]


def test_what_is_missing_is_null_in_metadata_and_refused_as_an_input() -> None:
    """The row is named; NaN stays a number of an input."""
    frame = pd.DataFrame(
        {
            "x": [1.0, math.nan],
            "n": pd.array([1, None], dtype="Int64"),
            "at": pd.to_datetime(["2026-11-28", None]),
        }
    )

    found = encoded(frame, inputs=["x"], metadata=["n", "at"])

    assert [orjson.loads(one.metadata) for one in found] == [
        {"n": 1, "at": "2026-11-28T00:00:00"},
        {"n": None, "at": None},
    ]
    assert found[1].outgoing.value == b'{"instance":{"x":NaN}}'
    with pytest.raises(InvalidRecordError, match=r"rows\[1\].instance.n: is None"):
        encoded(frame, inputs=["n"])
    with pytest.raises(InvalidRecordError, match=r"rows\[1\].instance.n: is None"):
        encoded(pa.table({"n": [1, None]}))


@pytest.mark.parametrize(
    "kind",
    [
        pa.list_(pa.float32()),
        pa.list_(pa.float32(), 2),
        pa.list_(pa.int8()),
        pa.large_list(pa.float64()),
    ],
)
def test_lists_of_numbers_in_arrow_become_rows(kind: Any) -> None:
    """Of a slice, too, and of several chunks."""
    values = [[1, 2], [3, 4], [5, 6], [7, 8], [9, 10]]
    table = pa.chunked_array([pa.array(values[:2], kind), pa.array(values[2:], kind)])

    found = published(pa.table({"x": table}).slice(1), inputs="x")

    assert found == [{"instance": row} for row in values[1:]]


def test_lists_of_different_lengths_and_empty_ones_stay_so() -> None:
    """As a vocabulary's words are."""
    values = [[1.0], [], [2.0, 3.0], None]

    with pytest.raises(InvalidRecordError, match=r"rows\[3\]"):
        published(pa.table({"x": pa.array(values)}))
    assert published(pa.table({"x": pa.array(values[:3])})) == [
        {"instance": {"x": row}} for row in values[:3]
    ]


def test_metadata_may_be_stored_elsewhere_and_fields_be_common() -> None:
    """For all rows."""
    how: dict[str, Any] = {"metadata": STORED_ELSEWHERE, "common": {"servable": "d", "version": 3}}
    (found, _) = encoded(np.zeros((2, 2)), **how)

    headers = dict(found.outgoing.headers)
    assert (headers["ce_servable"], headers["ce_servableversion"]) == (b"d", b"3")
    assert found.metadata is None
    assert "ce_metadata" not in headers


@pytest.mark.parametrize(
    ("rows", "how", "problem"),
    [
        (7, {}, "rows: must be a numpy array, columns by name"),
        ([[1.0]], {}, "found list"),
        (np.array(1.0), {}, "without rows"),
        ({"x": [1], "y": [1, 2]}, {}, "different lengths"),
        (pd.DataFrame([[1, 2]], columns=["x", "x"]), {}, "two columns named 'x'"),
        (pa.table([[1], [2]], names=["x", "x"]), {}, "two columns named 'x'"),
        (COLUMNS, {"metadata": ["w"]}, "there is no column 'w', only 'x', 'n'"),
        (COLUMNS, {"metadata": "user"}, r"give \['user'\]"),
        (COLUMNS, {"inputs": "w"}, "inputs: there is no column 'w'"),
        ({"x": [1]}, {"metadata": ["x"]}, "has no column left"),
        (np.zeros((3, 2)), {"record_ids": ["a"]}, "record_ids: has 1 values"),
        (np.zeros((3, 2)), {"metadata": {"n": [1]}}, "metadata.n: has 1 values"),
        (np.zeros((3, 2)), {"tensors": True}, "name the input"),
        (COLUMNS, {"inputs": "x", "vector": True}, "vector: makes one list of several"),
        (COLUMNS, {"record_ids": "x"}, r"rows\[0\].record_id"),
    ],
)
def test_what_cannot_be_is_named(rows: Any, how: dict[str, Any], problem: str) -> None:
    """With the argument and what is there."""
    with pytest.raises(InvalidRecordError, match=problem):
        encoded(rows, **how)


@given(
    st.lists(
        st.tuples(st.floats(allow_nan=False, allow_infinity=False), st.integers(-(2**53), 2**53)),
        min_size=1,
        max_size=30,
    ),
    st.integers(1, 7),
)
def test_every_library_says_the_same(rows: list[tuple[float, int]], max_rows: int) -> None:
    """Whatever the numbers are and however the table is cut."""
    columns = {"x": [x for x, _ in rows], "n": [n for _, n in rows]}
    wanted = [{"instance": {"x": x, "n": n}} for x, n in rows]

    for table in (columns, as_arrays(columns), pd.DataFrame(columns), pa.table(columns)):
        assert published(table, max_rows=max_rows) == wanted


@pytest.mark.parametrize(
    "values",
    [
        lambda: (text for text in "ab"),
        lambda: map(str, "ab"),
        lambda: dict.fromkeys("ab").keys(),
        lambda: {1: "a", 2: "b"}.values(),
        lambda: deque("ab"),
        lambda: pd.Index(list("ab")),
        lambda: pa.array(list("ab")),
    ],
)
def test_values_of_any_iterable_are_one_a_row(values: Callable[[], Any]) -> None:
    """As metadata, record ids and keys, also where the rows are taken in parts."""
    found = encoded(
        np.zeros((2, 1)), 1, metadata={"m": values()}, record_ids=values(), keys=values()
    )

    assert [orjson.loads(one.metadata) for one in found] == [{"m": "a"}, {"m": "b"}]
    assert [one.record_id for one in found] == ["a", "b"]
    assert [one.outgoing.key for one in found] == [b"a", b"b"]


def test_one_value_of_all_rows_is_no_column() -> None:
    """Text, bytes, an object, and an array without a dimension."""
    common = {"text": "ab", "object": {"a": 1}, "number": np.array(7), "none": None}

    found = encoded(np.zeros((2, 1)), metadata=common)

    assert [orjson.loads(one.metadata) for one in found] == [common | {"number": 7}] * 2


def test_a_set_is_no_column() -> None:
    """Its values have no order in which rows could have them."""
    for how in ({"metadata": {"m": {1, 2}}}, {"keys": {"a", "b"}}):
        with pytest.raises(InvalidRecordError, match="has no order"):
            RowMapping(**how)


@pytest.mark.parametrize("dtype", ["float64", "Int64", object])
def test_a_row_without_a_key_or_id_has_its_own(dtype: Any) -> None:
    """A key is the record id then, and an id is made; numbers beside it stay as they are."""
    frame = pd.DataFrame({"x": [1, 2, 3], "k": pd.Series([7, None, None], dtype=dtype)})

    first, second, third = encoded(frame, inputs=["x"], keys="k", record_ids="k")

    assert (first.record_id, first.outgoing.key) == ("7", b"7")
    assert len({second.record_id, third.record_id}) == 2
    assert second.outgoing.key == second.record_id.encode()
    assert third.outgoing.key == third.record_id.encode()


def test_an_empty_id_or_key_is_none() -> None:
    """As a CSV file's empty cell is."""
    columns = {"x": [1, 2], "id": ["", "a"], "k": ["", "b"]}

    made, named = encoded(columns, record_ids="id", keys="k")

    assert made.outgoing.key == made.record_id.encode()
    assert (named.record_id, named.outgoing.key) == ("a", b"b")


@pytest.mark.parametrize(
    "series", [pd.Series([1, 2]), pa.array([1, 2]), pa.chunked_array([[1, 2]])]
)
def test_a_series_is_rows_of_one_value(series: Any) -> None:
    """As an array is."""
    assert published(series) == [{"instance": 1}, {"instance": 2}]


def test_a_stream_without_columns_is_no_table() -> None:
    """It is told as every other thing that is no table."""

    class Numbers:
        def __arrow_c_stream__(self, requested_schema: Any = None) -> Any:
            return pa.chunked_array([[1, 2]]).__arrow_c_stream__(requested_schema)

    with pytest.raises(InvalidRecordError, match="rows: must be a numpy array"):
        published(Numbers())


@pytest.mark.parametrize(
    ("rows", "how"),
    [
        (pd.Series([1, None], dtype="Int64"), {}),
        ({"x": [1, None], "y": [1, 2]}, {"inputs": "x"}),
        (np.ma.array([1.0, 2.0], mask=[False, True]), {}),
    ],
)
def test_a_row_of_one_value_that_is_missing_is_named(rows: Any, how: dict[str, Any]) -> None:
    """As one of several values is."""
    with pytest.raises(InvalidRecordError, match=r"rows\[1\].instance: is None, which no tensor"):
        encoded(rows, **how)


@pytest.mark.parametrize("make", [as_frame, as_arrays, as_structured, dict, pa.table])
@pytest.mark.parametrize("count", [2, 4])
@pytest.mark.parametrize("field", ["record_ids", "keys", "metadata.user"])
def test_what_is_given_beside_the_table_has_one_value_a_row(
    make: Callable[[dict[str, Any]], Any], count: int, field: str
) -> None:
    """With more or fewer, no row would be certain to have its own; nothing is published then."""
    given = [f"i{number}" for number in range(count)]
    beside: dict[str, Any] = {field: given}
    if field == "metadata.user":
        beside = {"metadata": {"user": given, "run": "all rows have it"}}
    mapping = RowMapping(**beside)

    with pytest.raises(InvalidRecordError, match=f"{field}: has {count} values, .* 3 rows"):
        next(mapping.records(make(COLUMNS)))


def test_of_a_stream_the_rows_are_not_counted_before() -> None:
    """It would have to be read twice."""
    reader = pa.table({"x": [1, 2]}).to_reader()

    (records,) = RowMapping(keys=["a", "b", "c"]).records(reader)

    assert len(records) == 2


@pytest.mark.parametrize("table", [{}, pd.DataFrame(index=[0, 1])])
def test_a_table_without_columns_is_refused(table: Any) -> None:
    """Its rows have nothing to publish, which is no success."""
    with pytest.raises(InvalidRecordError, match="rows: has no columns"):
        next(RowMapping().records(table))
