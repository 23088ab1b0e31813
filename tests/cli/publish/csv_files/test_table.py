import argparse
import io
import math
from contextlib import closing
from decimal import Decimal
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv

from topicserve.cli.errors import UsageError
from topicserve.cli.publish import add_arguments
from topicserve.cli.publish.csv_files.cells import ColumnType, Problems, column_of, converted
from topicserve.cli.publish.csv_files.column_types import types_of
from topicserve.cli.publish.csv_files.long_lines import MAX_LINE_BYTES
from topicserve.cli.publish.rows import RowSource
from topicserve.cli.publish.sources import open_source
from topicserve.producer.encoder import RecordEncoder
from topicserve.producer.record import Record
from topicserve.wire.errors import InvalidRecordError

ENCODER = RecordEncoder("digits", "/test")
PADDING = "p" * 200


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Return the path of a CSV file."""
    return tmp_path / "rows.csv"


def source_of(path: Path, *words: str) -> RowSource:
    """Return a file that is open, with flags of a command line."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return open_source(parser.parse_args([str(path), "--topic=digits", *words]))


def rows(path: Path, *words: str) -> list[Any]:
    """Return what becomes of each row: instance and metadata, or what is wrong."""
    with closing(source_of(path, *words)) as source:
        return [told(row.record) for row in source.rows(None)]


def told(record: Record | InvalidRecordError) -> Any:
    """Return what a record says, or the problem."""
    try:
        if isinstance(record, InvalidRecordError):
            raise record
        body = ENCODER.encode(record)
    except InvalidRecordError as error:
        return str(error)
    instance = orjson.loads(body.outgoing.value or b"")["instance"]
    return instance, orjson.loads(body.metadata or b"null")


def test_whole_numbers_are_never_rounded(path: Path) -> None:
    """Beyond int64 they are unsigned, and beyond that text."""
    path.write_text(
        "small,unsigned,large,mixed\n"
        "1,18446744073709551615,18446744073709551616,9223372036854775808\n"
        "-2,NA,1,-1\n"
    )

    first, second = rows(
        path, "--metadata-columns=small,unsigned,large,mixed", "--input-columns=small"
    )

    assert first[1] == {
        "small": 1,
        "unsigned": 2**64 - 1,
        "large": "18446744073709551616",
        "mixed": "9223372036854775808",
    }
    assert second[1] == {"small": -2, "unsigned": None, "large": "1", "mixed": "-1"}


def test_text_keeps_what_says_that_there_is_none(path: Path) -> None:
    """In text only an empty cell is missing; in numbers NA is, too."""
    path.write_text("x,none,text,number\n1,NA,a,1\n2,null,NA,NA\n3,,,\n")

    found = rows(path, "--input-columns=x", "--metadata-columns=none,text,number")

    assert [metadata for _, metadata in found] == [
        {"none": "NA", "text": "a", "number": 1},
        {"none": "null", "text": "NA", "number": None},
        {"none": None, "text": None, "number": None},
    ]
    path.write_text('text\n""\na\n')
    assert rows(path) == [({"text": ""}, None), ({"text": "a"}, None)]


@pytest.mark.parametrize("late", ["x", "6000.5", "99999999999999999999"])
def test_a_cell_that_does_not_fit_the_columns_type_is_its_rows_fault(path: Path, late: str) -> None:
    """Rows beside it are published, also those of its block; behind the first megabyte."""
    lines = [f"{row},{PADDING}" for row in range(8_000)]
    lines[7_000] = f"{late},{PADDING}"
    path.write_text("\n".join(["a,b", *lines]) + "\n")

    found = rows(path, "--input-columns=a", "--row=value")

    wrong = found.pop(7_000)
    assert wrong == (
        f"a: '{late}' is not int64, the column's type; give another with --column-types a=string"
    )
    assert [instance for instance, _ in found] == [row for row in range(8_000) if row != 7_000]


def test_a_columns_type_may_be_given(path: Path) -> None:
    """It then does not depend on the first rows."""
    path.write_text("a,b,c\n1,007,2024-01-01\n2,8,2024-01-02\n")

    found = rows(path, "--column-types=a=float64,b=string, c=string")

    assert found[0] == ({"a": 1.0, "b": "007", "c": "2024-01-01"}, None)
    assert isinstance(found[0][0]["a"], float)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        (["--column-types=a"], "must be NAME=TYPE"),
        (["--column-types=a=number"], "must be one of Arrow's types, such as int64"),
        (["--column-types=b=int64"], "there is no column 'b', only 'a'"),
        (["--text-columns=b"], "there is no column 'b', only 'a'"),
    ],
)
def test_types_that_cannot_be_are_told(path: Path, words: list[str], problem: str) -> None:
    """With what may be given."""
    path.write_text("a\n1\n")

    with pytest.raises(UsageError, match=problem):
        rows(path, *words)


def test_a_cell_that_is_not_utf8_is_its_rows_fault(path: Path) -> None:
    """The column stays text; in a column of numbers, too."""
    path.write_bytes(b"country,n\nFrance,1\nC\xf4te,2\nJapan,\xf4\n")

    assert rows(path, "--column-types=n=int64") == [
        ({"country": "France", "n": 1}, None),
        "country: b'C\\xf4te' is not UTF-8",
        "n: b'\\xf4' is not UTF-8",
    ]
    assert rows(path)[0] == ({"country": "France", "n": "1"}, None)


def test_columns_that_are_not_used_are_not_looked_at(path: Path) -> None:
    """Nothing in them is a fault."""
    path.write_bytes(b"x,note\n1,C\xf4te\n")

    assert rows(path, "--input-columns=x") == [({"x": 1}, None)]


def test_rows_before_one_with_too_few_values_are_published(path: Path) -> None:
    """It is named by its number, also where it is far behind the first block."""
    lines = [f"{row},{PADDING}" for row in range(8_000)]
    path.write_text("\n".join(["a,b", *lines[:7_000], "", "7000", *lines[7_000:], "1,2,3"]) + "\n")
    found: list[Any] = []

    with (
        closing(source_of(path)) as source,
        pytest.raises(UsageError, match="row 7,001: has 1 values in place of 2: '7000'"),
    ):
        found.extend(source.rows(None))

    assert len(found) == 7_000


def test_a_row_that_is_too_long_is_an_invalid_row(
    path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of any length; what is before it, and with --skip-invalid behind it, is published."""
    long = "y" * (3 * MAX_LINE_BYTES)
    lines = [f'{row},"{PADDING}"' for row in range(8_000)]
    lines[7] = f'7,"{long}"'
    lines[6_000] = f"6000,{long}"
    lines[6_001] = 'six,"two\nlines"'
    path.write_text("\n".join(["a,b", *lines]) + "\n")
    found: list[Any] = []

    with (
        closing(source_of(path)) as source,
        pytest.raises(UsageError, match=r"row 8: is longer than 1 MiB: '7,.*--skip-invalid"),
    ):
        found.extend(source.rows(None))
    left = rows(path, "--input-columns=a", "--row=value", "--skip-invalid", "--text-columns=a")

    assert len(found) == 7
    expected = [str(row) for row in range(8_000) if row not in (7, 6_000)]
    expected[5_999] = "six"
    assert [instance for instance, _ in left] == expected
    assert capsys.readouterr().err.count("a row is longer than 1 MiB: ") == 2


@pytest.mark.parametrize(
    "content",
    [
        'a,b\n1,"open\n' + "y" * (3 * MAX_LINE_BYTES) + '\n"\n2,3\n',
        "a," + "b" * (3 * MAX_LINE_BYTES) + "\n1,2\n",
    ],
)
def test_a_long_line_that_may_be_a_part_of_a_row_is_not_passed_over(
    path: Path, content: str
) -> None:
    """What is behind it could not be told apart; the file is refused, as a whole."""
    path.write_text(content)

    with pytest.raises(UsageError, match="rows of up to 1 MiB"):
        rows(path, "--skip-invalid")


def test_a_file_of_old_macs_has_lines_too(path: Path) -> None:
    """They end in a carriage return alone."""
    lines = [f"{row},{PADDING}" for row in range(12_000)]
    path.write_bytes("\r".join(["a,b", *lines]).encode())

    assert len(rows(path, "--input-columns=a")) == 12_000


TEXT_AND_TRUTH = {"a": ColumnType(pa.string()), "b": ColumnType(pa.bool_())}


def test_a_row_is_inferred_whole() -> None:
    """The first megabyte may end within a cell, which then would look like another type."""
    head = b"a,b\n" + b"x,true\n" * 10

    assert types_of(head + b"x,tr", ",", {}, is_cut=True) == TEXT_AND_TRUTH
    assert types_of(b"a,b\nx,true", ",", {}) == TEXT_AND_TRUTH


CELLS = st.sampled_from(
    [
        "",
        "1",
        " 2",
        "-3",
        "0x10",
        "1.5",
        "1e5",
        "NA",
        "nan",
        "inf",
        "true",
        "FALSE",
        "2024-01-01",
        "2024-01-01 00:00:00",
        "2024-01-01T00:00:00Z",
        "01:02:03",
        'a "b"',
        "a,b",
        "a\nb",
        "é",
    ]
)
KINDS = st.sampled_from(
    [pa.int64(), pa.float64(), pa.bool_(), pa.date32(), pa.time32("s"), pa.timestamp("s")]
)


@given(cells=st.lists(CELLS, min_size=1, max_size=12), kind=KINDS)
def test_each_cell_of_a_type_that_was_given_is_converted_as_pyarrow_reads_it(
    cells: list[str], kind: Any
) -> None:
    """Alone or beside cells that cannot be; those have problems."""
    problems: Problems = {}

    wanted = ColumnType(kind, is_given=True)

    found = column_of("c", pa.array([cell.encode() for cell in cells]), wanted, problems)

    assert found.type == kind or len(problems) == len(cells)
    for row, cell in enumerate(cells):
        alone = read_alone(cell, kind)
        assert (row in problems) == (alone is None)
        if alone is not None:
            assert found[row].as_py() == alone[0] or alone[0] != alone[0]


def read_alone(cell: str, kind: Any) -> list[Any] | None:
    """Return how pyarrow reads a file of this one cell; None where it refuses it."""
    file = io.BytesIO()
    file.write(b'c\n"' + cell.replace('"', '""').encode() + b'"\n')
    file.seek(0)
    try:
        table = csv.read_csv(
            file,
            parse_options=csv.ParseOptions(newlines_in_values=True),
            convert_options=csv.ConvertOptions(column_types={"c": kind}),
        )
    except pa.ArrowInvalid:
        return None
    return list(table["c"].to_pylist())


WHOLE = st.from_regex(r"[+-]?0{0,2}[0-9]{1,22}", fullmatch=True)
NUMBERS = st.one_of(
    WHOLE,
    st.integers(-(2**70), 2**70).map(str),
    st.floats(allow_nan=False, allow_infinity=False).map(str),
    st.from_regex(r"[+-]?[0-9]{0,20}\.[0-9]{0,20}([eE][+-]?[0-9]{1,3})?", fullmatch=True),
    st.from_regex(r" ?[+-]?[0-9]{1,3} ?", fullmatch=True),
    st.sampled_from(["1_000", "0x10", "0X1F", "1e400", "-1e400", "inf", "12:30", "٣", "+", "."]),
)


@given(cells=st.lists(st.one_of(NUMBERS, CELLS), min_size=1, max_size=6))
def test_a_cell_is_published_without_loss_or_as_text(cells: list[str]) -> None:
    """What the inferred type takes, reading takes too; only overflow is a fault of its row."""
    kinds = types_of(("c,d\n" + "".join(f"{quoted(c)},1\n" for c in cells)).encode(), ",", {})
    problems: Problems = {}

    found = column_of("c", pa.array([cell.encode() for cell in cells]), kinds["c"], problems)

    for row, (cell, value) in enumerate(zip(cells, found.to_pylist(), strict=True)):
        if row in problems:
            assert "too large" in str(problems[row])
            assert math.isinf(float(cell))
        elif value is None:
            assert cell in ("", "NA", "nan")
        elif isinstance(value, str):
            assert value == cell
        elif isinstance(value, bool):
            assert cell.lower() == str(value).lower()
        elif cell.strip().lstrip("+-").isdigit():
            assert Decimal(cell.strip()) == Decimal(value)
            assert not cell.strip().lstrip("+-")[:-1].startswith("0")
        else:
            assert value == float(cell)


def quoted(cell: str) -> str:
    """Return a cell in quotes, as a CSV file has one that holds any text."""
    return '"' + cell.replace('"', '""') + '"'


@pytest.mark.parametrize(
    ("cells", "values"),
    [
        (["+5", "-3"], ["+5", "-3"]),
        (["+5.5", "-3"], [5.5, -3.0]),
        (["+491701234567", "030123"], ["+491701234567", "030123"]),
        (["007", "8"], ["007", "8"]),
        (["0x10", "1"], ["0x10", "1"]),
        (["9007199254740993", "1.5"], ["9007199254740993", "1.5"]),
        (["9007199254740992", "1.5"], [9007199254740992.0, 1.5]),
        (["2024-01-01T00:00:00+02:00"], ["2024-01-01T00:00:00+02:00"]),
        (["2024-01-01"], ["2024-01-01"]),
        (["12:30"], ["12:30"]),
        (["true", "0"], ["true", "0"]),
        (["true", "FALSE"], [True, False]),
        ([".5", "5.", "1e3"], [0.5, 5.0, 1000.0]),
        (["1e400", "2"], ["c: '1e400' is too large for double", 2.0]),
    ],
)
def test_a_column_is_of_numbers_where_none_changes(
    path: Path, cells: list[str], values: list[Any]
) -> None:
    """Ids, phone numbers, times and the like are text as they are written."""
    path.write_text("c\n" + "".join(f"{cell}\n" for cell in cells))

    found = rows(path, "--row=value", "--input-columns=c")

    assert [one if isinstance(one, str) else one[0] for one in found] == values


def test_a_type_that_is_given_reads_what_it_can(path: Path) -> None:
    """A number may lose how it is written then, but none becomes infinite."""
    path.write_text("a,b,t\n007,0.5,2024-01-01T10:00:00\n0x10,1e39,2024-01-01T00:00:00\n")

    words = ("--column-types=a=int64,b=float32,t=timestamp[s]", "--metadata-columns=t")

    assert rows(path, *words) == [
        ({"a": 7, "b": 0.5}, {"t": "2024-01-01T10:00:00"}),
        "b: '1e39' is too large for float",
    ]


def test_an_empty_cell_is_a_row() -> None:
    """It is null, in a column of one cell, too."""
    assert converted(pa.array([""]), pa.int64()).to_pylist() == [None]
    assert converted(pa.array(["", "1", ""]), pa.int64()).to_pylist() == [None, 1, None]
