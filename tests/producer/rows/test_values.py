import datetime as dt
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import Any

import numpy as np
import orjson
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.producer.encoder import RecordEncoder
from topicserve.producer.record import Record
from topicserve.producer.rows.chunks import Chunk
from topicserve.producer.rows.mapping import RowMapping, encode_rows
from topicserve.wire.errors import InvalidRecordError

ENCODER = RecordEncoder("digits", "/test")
TIME = "2024-01-01T12:00:00.123456789"

Column = Callable[[Sequence[str | None]], Any]

TIME_COLUMNS: dict[str, Column] = {
    "numpy": lambda times: np.array([time or "NaT" for time in times], "M8[ns]"),
    "pandas": lambda times: pd.Series(np.array([time or "NaT" for time in times], "M8[ns]")),
    "arrow": lambda times: pa.array(np.array([time or "NaT" for time in times], "M8[ns]")),
    "arrow in pandas": lambda times: pd.Series(
        pd.array(
            pa.array(np.array([time or "NaT" for time in times], "M8[ns]")),
            dtype=pd.ArrowDtype(pa.timestamp("ns")),
        )
    ),
    "numpy's scalars": lambda times: [np.datetime64(time or "NaT", "ns") for time in times],
}
every_time_column = pytest.mark.parametrize("make", TIME_COLUMNS.values(), ids=list(TIME_COLUMNS))


def metadata_of(column: Any, rows: int) -> list[Any]:
    """Return what the metadata of a table's records holds of a column."""
    found: list[Any] = []
    for records in RowMapping(metadata={"m": column}).records(np.zeros((rows, 1)), 2):
        found += encode_rows(ENCODER.encode, records, len(found))
    return [orjson.loads(one.metadata or b"")["m"] for one in found]


def bodies_of(table: Any, **how: Any) -> list[Any]:
    """Return the instances of a table's records."""
    found: list[Any] = []
    for records in RowMapping(**how).records(table, 2):
        found += encode_rows(ENCODER.encode, records, len(found))
    return [orjson.loads(one.outgoing.value or b"")["instance"] for one in found]


@every_time_column
def test_times_keep_their_nanoseconds_and_no_time_is_null(make: Column) -> None:
    """In metadata, from every library; a whole second has no fraction."""
    times = [TIME, None, "2024-01-01T12:00:00", "2024-01-01T12:00:00.5"]

    found = metadata_of(make(times), 4)

    assert found == [TIME, None, "2024-01-01T12:00:00", "2024-01-01T12:00:00.500000"]


@every_time_column
def test_no_time_is_refused_as_an_input(make: Column) -> None:
    """Its row is named; a time before it is published with its nanoseconds."""
    assert bodies_of({"t": make([TIME])}) == [{"t": TIME}]
    with pytest.raises(InvalidRecordError, match=r"rows\[1\].instance.t: is None"):
        bodies_of({"t": make([TIME, None])})


@pytest.mark.parametrize("unit", ["Y", "M", "D", "h", "m", "s", "ms", "us", "ns"])
def test_no_time_is_null_in_every_unit(unit: str) -> None:
    """Numpy's NaT in a record's metadata, alone and in an array."""
    none = np.array(["NaT", "2024-01-01"], f"M8[{unit}]")

    encoded = ENCODER.encode(Record(instance=1, metadata={"t": none[0], "all": none}))

    assert orjson.loads(encoded.metadata or b"") == {
        "t": None,
        "all": [None, "2024-01-01T00:00:00"],
    }


def test_times_of_arrow_keep_zone_and_nanoseconds_within_other_values() -> None:
    """In lists, structs, maps and dictionaries, and times of day."""
    at = 1704110400123456789
    zoned = pa.array([at], pa.timestamp("ns", "Europe/Berlin"))
    day = pa.array([3_723_000_000_001], pa.time64("ns"))
    nested = pa.array([{"at": [at, None]}], pa.struct({"at": pa.list_(pa.timestamp("ns"))}))
    mapped = pa.array([[("k", at)]], pa.map_(pa.string(), pa.timestamp("ns")))

    assert metadata_of(zoned, 1) == ["2024-01-01T13:00:00.123456789+01:00"]
    assert metadata_of(day, 1) == ["01:02:03.000000001"]
    assert metadata_of(nested, 1) == [{"at": [TIME, None]}]
    assert metadata_of(mapped, 1) == [[["k", TIME]]]
    assert metadata_of(pa.array([at], pa.timestamp("ns")).dictionary_encode(), 1) == [TIME]


@given(st.lists(st.integers(-(2**62), 2**62), min_size=1, max_size=5))
def test_every_library_writes_the_same_time(counts: list[int]) -> None:
    """It is the time that was given, to the nanosecond."""
    times = np.array(counts, "M8[ns]")
    written = metadata_of(times, len(counts))

    assert [np.datetime64(text, "ns") for text in written] == list(times)
    assert metadata_of(pd.Series(times), len(counts)) == written
    assert metadata_of(pa.array(times), len(counts)) == written


@pytest.mark.parametrize(
    "column",
    [
        pa.array([0, 9_999_999_999_999_999], pa.timestamp("ms")),
        pa.array([0, 9_999_999_999_999_999], pa.timestamp("ms", "UTC")),
        pa.array([0, 10**8], pa.int32()).cast(pa.date32()),
        np.array(["1970-01-01", "12024-01-01"], "M8[s]"),
        pa.array([[0], [9_999_999_999_999_999]], pa.list_(pa.timestamp("ms"))),
    ],
    ids=["timestamp", "zoned", "date", "numpy", "list"],
)
def test_a_value_that_cannot_be_read_is_the_fault_of_its_row(column: Any) -> None:
    """The rows beside it are records; as metadata and as an input."""
    for how in ({"inputs": ["x"], "metadata": ["t"]}, {"inputs": ["t"]}):
        mapping = RowMapping(**how)  # type: ignore[arg-type]

        good, bad = mapping.of_chunk(Chunk(0, 2, {"x": [1, 2], "t": column}))

        assert isinstance(good, Record)
        assert isinstance(bad, InvalidRecordError)
        assert ".t" in bad.field


def test_decimals_and_durations_become_metadata() -> None:
    """Decimals keep their digits as text; durations are seconds."""
    decimals = [Decimal("1.10"), Decimal("12345678901234567890123456789.00")]
    durations = [1_500_000_000, None]

    assert metadata_of(pa.array(decimals), 2) == ["1.10", "12345678901234567890123456789.00"]
    assert metadata_of(pd.Series(decimals), 2) == ["1.10", "12345678901234567890123456789.00"]
    assert metadata_of(pa.array(durations, pa.duration("ns")), 2) == [1.5, None]
    assert metadata_of(pd.Series([pd.Timedelta("1.5s"), pd.NaT]), 2) == [1.5, None]
    assert metadata_of(np.array([1500, "NaT"], "m8[ms]"), 2) == [1.5, None]
    assert metadata_of([dt.timedelta(seconds=3)], 1) == [3.0]


@pytest.mark.parametrize(
    ("array", "problem"),
    [
        (np.array([5], "m8[ns]"), "is a duration; give a number"),
        (np.array([1.5], np.longdouble), "has no form in JSON; give float64"),
    ],
)
def test_arrays_without_a_form_in_json_are_refused(array: Any, problem: str) -> None:
    """With the remedy; a duration is not sent as a number of nanoseconds."""
    with pytest.raises(InvalidRecordError, match=problem):
        ENCODER.encode(Record(instance=array))


def test_tensors_of_arrow_keep_their_shape() -> None:
    """Of a slice, of several chunks and beside nulls, in JSON and in protobuf."""
    images = np.arange(12.0).reshape(3, 2, 2)
    column = pa.FixedShapeTensorArray.from_numpy_ndarray(images)
    table = pa.table({"x": pa.chunked_array([column[:1], column[1:]])})
    with_null = pa.ExtensionArray.from_storage(
        column.type, pa.array([[0.0, 1, 2, 3], None], pa.list_(pa.float64(), 4))
    )

    assert bodies_of(table.slice(1), inputs="x") == images[1:].tolist()
    records = [record for part in RowMapping(tensors=True).records(table) for record in part]
    assert [record.tensors["x"].shape for record in records] == [(1, 2, 2)] * 3  # type: ignore[index,union-attr]
    assert bodies_of({"x": with_null[:1]}, inputs="x") == images[:1].tolist()
    with pytest.raises(InvalidRecordError, match=r"rows\[1\]"):
        bodies_of({"x": with_null}, inputs="x")


def test_numbers_beside_a_null_keep_their_dtype() -> None:
    """A row without a value is refused, and no other."""
    table = pa.table({"x": pa.array([1, None, 3], pa.int8())})

    (records,) = RowMapping(tensors=True).records(table)

    assert [ENCODER.encode(records[row]).record_id is not None for row in (0, 2)] == [True, True]  # type: ignore[arg-type]
    with pytest.raises(InvalidRecordError, match="bytes or str alone"):
        ENCODER.encode(records[1])  # type: ignore[arg-type]
