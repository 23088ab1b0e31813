import argparse
import bz2
import gzip
import io
import os
import socket
import sys
import threading
import tracemalloc
from contextlib import closing, suppress
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pyarrow import csv, parquet

from topicserve.cli.errors import UsageError
from topicserve.cli.publish import add_arguments
from topicserve.cli.publish.csv_files import table as csv_table
from topicserve.cli.publish.files import read_regular
from topicserve.cli.publish.sources import open_source
from topicserve.cli.publish.table_source import TableSource
from topicserve.producer.encoder import RecordEncoder
from topicserve.producer.record import STORED_ELSEWHERE, Record
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.protobuf_codec import decode_predict_request

ENCODER = RecordEncoder("digits", "/test")
TABLE = pa.table(
    {
        "x": [0.5, 1.5, 2.5],
        "n": pa.array([1, 2, 3], pa.int32()),
        "user": ["007", "8", "9"],
    }
)


def parsed(*words: Any) -> argparse.Namespace:
    """Return the arguments of a command line."""
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    return parser.parse_args([*map(str, words), "--topic=digits"])


def read(*words: Any, start: Any = None) -> list[tuple[Any, str, Any]]:
    """Return a source's rows: position, place and body, or what is wrong."""
    with closing(open_source(parsed(*words))) as source:
        return [(row.position, row.place, body(row.record)) for row in source.rows(start)]


def bodies(*words: Any, start: Any = None) -> list[Any]:
    """Return the instances of a source's rows."""
    return [found for _, _, found in read(*words, start=start)]


def body(record: Record | InvalidRecordError) -> Any:
    """Return what a model is given."""
    if isinstance(record, InvalidRecordError):
        return record
    value = ENCODER.encode(record).outgoing.value or b""
    is_json = record.tensors is None and record.body is None
    return orjson.loads(value)["instance"] if is_json else value


def records(*words: Any) -> list[Record]:
    """Return the records of a source."""
    with closing(open_source(parsed(*words))) as source:
        return [row.record for row in source.rows(None) if isinstance(row.record, Record)]


@pytest.fixture(params=["rows.csv", "rows.tsv", "rows.parquet", "rows.npz"])
def table(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Write a table in each format."""
    path = tmp_path / request.param
    if path.suffix == ".parquet":
        parquet.write_table(TABLE, path, row_group_size=2)
    elif path.suffix == ".npz":
        arrays: Any = {name: np.array(TABLE[name].to_pylist()) for name in TABLE.column_names}
        np.savez(path, **arrays)
    else:
        delimiter = "\t" if path.suffix == ".tsv" else ","
        csv.write_csv(TABLE, path, csv.WriteOptions(delimiter=delimiter))
    return str(path)


def test_rows_become_objects_with_places(table: str) -> None:
    """The format is what the name says; what is metadata, id or key is no input."""
    found = read(table, "--metadata-columns=user", "--text-columns=user")

    assert found == [(row, f"{table}: row {row}", {"x": row - 0.5, "n": row}) for row in (1, 2, 3)]


def test_columns_say_metadata_ids_and_keys(table: str) -> None:
    """Ids and keys are text, also in a file that does not say so."""
    columns = ("--id-column=user", "--key-column=n", "--input-columns=x")
    (first, *_) = records(table, *columns, "--metadata-columns=n")

    assert (first.record_id, first.key, first.instance) == ("007", "1", {"x": 0.5})
    assert first.metadata in ({"n": 1}, {"n": "1"})  # a key's column is text in CSV


def test_a_row_may_be_a_list_or_a_value(table: str) -> None:
    """For models with one input."""
    assert bodies(table, "--row=list", "--input-columns=n,x")[1] == [2, 1.5]
    assert bodies(table, "--row=value", "--input-columns=x") == [0.5, 1.5, 2.5]


def test_reading_goes_on_behind_a_position(table: str) -> None:
    """Of any row, within a row group or a block."""
    for start in range(4):
        found = read(table, "--input-columns=n", start=start)
        assert [position for position, _, _ in found] == list(range(start + 1, 4))
        assert [instance["n"] for _, _, instance in found] == list(range(start + 1, 4))


def test_rows_may_be_sent_as_tensors(table: str) -> None:
    """In protobuf."""
    (first, *_) = bodies(table, "--input-columns=x,n", "--tensors")

    columns = decode_predict_request(first).columns
    assert {name: column.tolist() for name, column in columns.items()} == {"x": [0.5], "n": [1]}


def test_a_column_that_is_not_there_is_named(table: str) -> None:
    """With those that are."""
    with pytest.raises(UsageError, match=r"there is no column 'w', only|Column 'w'"):
        read(table, "--metadata-columns=w", "--input-columns=x")


def test_how_many_rows_are_left_is_known_of_some(table: str) -> None:
    """Of CSV the part that was read is."""
    with closing(open_source(parsed(table))) as source:
        if table.endswith("sv"):
            assert source.left(None) is None
            assert source.fraction() == 0.0
            list(source.rows(None))
            assert source.fraction() == 1.0
        else:
            assert [source.left(start) for start in (None, 2, 5)] == [3, 1, 0]


@pytest.mark.parametrize("form", ["csv", "parquet", "npy", "jsonl"])
def test_standard_input_is_read_too(form: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Formats that begin at their end are copied first."""
    content = content_of(form)

    class Piped:
        """Cannot go back, as a pipe cannot."""

        buffer = io.BufferedReader(Pipe(content))

    monkeypatch.setattr(sys, "stdin", Piped)

    assert bodies("-", f"--format={form}") == [{"x": 0.5}, {"x": 1.5}]
    assert not sys.stdin.buffer.closed


def content_of(form: str) -> bytes:
    """Return a file of two rows."""
    content = io.BytesIO()
    if form == "csv":
        content.write(b"x\n0.5\n1.5\n")
    elif form == "jsonl":
        content.write(b'{"instance": {"x": 0.5}}\n\n{"instance": {"x": 1.5}}\n')
    elif form == "npy":
        np.save(content, np.array([(0.5,), (1.5,)], dtype=[("x", "f8")]))
    else:
        parquet.write_table(TABLE.select(["x"]).slice(0, 2), content)
    return content.getvalue()


class Pipe(io.RawIOBase):
    """Bytes that are read once."""

    def __init__(self, content: bytes) -> None:
        self._left = content

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        part, self._left = self._left[: len(buffer)], self._left[len(buffer) :]
        buffer[: len(part)] = part
        return len(part)


def test_rows_of_an_array_are_its_rows(tmp_path: Path) -> None:
    """Also of a lone array in an .npz file, compressed or not."""
    array = np.arange(6, dtype=np.float32).reshape(3, 2)
    np.save(tmp_path / "a.npy", array)
    np.savez_compressed(tmp_path / "b.npz", array)

    for name in ("a.npy", "b.npz"):
        assert bodies(tmp_path / name) == array.tolist()
        assert bodies(tmp_path / name, start=2) == [[4.0, 5.0]]


def test_a_folder_of_images_is_read_in_order_of_names(tmp_path: Path) -> None:
    """Bytes as they are, the file's name as metadata; other files are passed over."""
    (tmp_path / "b").mkdir()
    for name in ("c.PNG", "b/a.jpg", "a.webp", "notes.txt"):
        (tmp_path / name).write_bytes(name.encode())

    found = records(tmp_path)

    assert [(r.body, r.content_type, r.metadata) for r in found] == [
        (b"a.webp", "image/webp", {"file": "a.webp"}),
        (b"b/a.jpg", "image/jpeg", {"file": "b/a.jpg"}),
        (b"c.PNG", "image/png", {"file": "c.PNG"}),
    ]
    (as_tensors, *_) = records(tmp_path, "--input-columns=image", "--tensors")
    assert (as_tensors.body, list(as_tensors.tensors or ())) == (None, ["image"])
    assert [row[0] for row in read(tmp_path, start="a.webp")] == ["b/a.jpg", "c.PNG"]
    by_name = records(tmp_path, "--input-columns=image", "--row=object", "--id-column=file")
    assert (by_name[0].instance, by_name[0].record_id) == ({"image": b"a.webp"}, "a.webp")
    (elsewhere, *_) = records(tmp_path, "--metadata-elsewhere")
    assert elsewhere.metadata is STORED_ELSEWHERE


def test_an_image_whose_name_is_no_text_is_a_row_of_its_own(tmp_path: Path) -> None:
    """It is refused alone; its position is text, behind which reading goes on."""
    for name in (b"a.png", b"a\xff.png", b"b.png"):
        (tmp_path / os.fsdecode(name)).write_bytes(b"image")

    first, unnamed, last = read(tmp_path)

    assert str(unnamed[2]) == "file: the name is not UTF-8; rename the file"
    assert unnamed[:2] == ("a\\udcff.png", f"{tmp_path}/a\\udcff.png")
    assert [row[0] for row in read(tmp_path, start=unnamed[0])] == ["b.png"]
    assert [row[0] for row in read(tmp_path, start="a.png")] == [unnamed[0], "b.png"]
    assert first[2] == last[2] == b"image"


def test_an_image_that_cannot_be_read_is_a_row_of_its_own(tmp_path: Path) -> None:
    """It may be skipped as an invalid row."""
    (tmp_path / "a.png").symlink_to(tmp_path / "missing")
    (tmp_path / "b.png").write_bytes(b"b")

    (broken, fine) = read(tmp_path)

    assert isinstance(broken[2], InvalidRecordError)
    assert broken[1] == f"{tmp_path}/a.png"
    assert fine[2] == b"b"


def test_what_is_no_regular_file_is_a_row_of_its_own(tmp_path: Path) -> None:
    """A pipe is not waited for, and what never ends or is too large is not read."""
    os.mkfifo(tmp_path / "a.png")
    (tmp_path / "b.png").symlink_to("/dev/zero")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "c.png"))
        with (tmp_path / "d.png").open("wb") as large:
            large.truncate(1024 * 1024 + 1)  # a hole: no disk is used
        (tmp_path / "e.png").write_bytes(b"e")

        *problems, last = map(str, bodies(tmp_path))

    assert problems[:2] == ["file: is no regular file"] * 2
    assert problems[2].startswith("file: ")
    assert problems[3] == "file: has 1,048,577 bytes, more than the 1,048,576 bytes allowed"
    assert "is " not in last
    allowed = bodies(tmp_path, "--kafka-setting=max.request.size=2000000")
    assert not isinstance(allowed[3], InvalidRecordError)


def test_a_file_that_grows_while_it_is_read_is_cut_off(tmp_path: Path) -> None:
    """The size that it had does not count."""
    with pytest.raises(OSError, match="more than the 0 bytes allowed"):
        read_regular(Path("/proc/self/status"), 0)  # it says that it has none
    (tmp_path / "a").write_bytes(b"12345")
    assert read_regular(tmp_path / "a", 5) == b"12345"


@pytest.mark.parametrize("name", ["/dev/zero", "/dev/random", "/dev/full"])
@pytest.mark.parametrize("form", ["jsonl", "csv", "parquet", "npy"])
def test_a_device_is_refused(name: str, form: str) -> None:
    """It never ends."""
    with pytest.raises(UsageError, match=f"{name}: is a device"):
        read(name, f"--format={form}")


@pytest.mark.parametrize("form", ["csv", "parquet", "npy", "jsonl"])
def test_a_named_pipe_is_read_as_standard_input_is(form: str, tmp_path: Path) -> None:
    """As a shell gives one for `<(command)`."""
    content = content_of(form)
    path = tmp_path / "pipe"
    os.mkfifo(path)
    writer = threading.Thread(target=path.write_bytes, args=(content,))
    writer.start()

    found = bodies(path, f"--format={form}")

    writer.join(60)
    assert found == [{"x": 0.5}, {"x": 1.5}]


@pytest.mark.parametrize(
    ("name", "pack"), [("rows.csv.gz", "csv"), ("rows.csv", "csv"), ("rows.jsonl.gz", "jsonl")]
)
def test_gzip_files_of_text_are_unpacked(name: str, pack: str, tmp_path: Path) -> None:
    """By their content; a checkpoint's position is one of what is in them."""
    path = tmp_path / name
    path.write_bytes(gzip.compress(content_of(pack)))

    assert bodies(path) == [{"x": 0.5}, {"x": 1.5}]
    (position, *_) = read(path)[0]
    assert bodies(path, start=position) == [{"x": 1.5}]
    with closing(open_source(parsed(path))) as source:
        list(source.rows(None))
        assert source.fraction() == 1.0


@pytest.mark.parametrize("form", ["csv", "jsonl"])
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (gzip.compress(b"x\n1\n" * 9)[:-9], "is a gzip file that is damaged or not complete"),
        (gzip.compress(b"x\n1\n")[:12] + b"\xff" * 30, "is a gzip file that is damaged"),
        ("x\n1\n".encode("utf-16"), "is UTF-16; convert it first"),
        (bz2.compress(b"x\n1\n"), "is bzip2-compressed; unpack it first"),
        (b"PK\x03\x04rest", "is a zip archive; unpack it first"),
    ],
)
def test_text_that_is_packed_otherwise_is_told(
    content: bytes, problem: str, form: str, tmp_path: Path
) -> None:
    """With what to do, rather than that its first line is not JSON."""
    path = tmp_path / f"rows.{form}"
    path.write_bytes(content)

    with pytest.raises(UsageError, match=problem) as refused:
        read(path)
    assert "Errno" not in str(refused.value)


@pytest.mark.parametrize(
    ("content", "flags", "problem"),
    [
        (b"x,y\n1,2\n3\n", (), "row 2: has 1 values in place of 2: '3'; .*--skip-invalid"),
        (b"x,x\n1,2\n", (), "two columns named 'x'"),
        (b"", (), "Empty CSV file"),
        (b"x\n1\n", ("--format=parquet",), "is it a Parquet file"),
        (b"x\n1\n", ("--format=npy",), "cannot be read as numpy's file"),
        (b"x\n1\n", ("--format=images",), "are read from a folder"),
        (b"x\n1\n", ("--format=jsonl", "--row=list"), "--row: JSON Lines have no columns"),
        (b"x\n1\n", ("--row=value",), "name the one column"),
        (b"x\n1\n", ("--input-columns=x,,y",), "given as A,B"),
    ],
)
def test_what_cannot_be_read_is_told_with_the_remedy(
    tmp_path: Path, content: bytes, flags: tuple[str, ...], problem: str
) -> None:
    """One line."""
    path = tmp_path / "rows.csv"
    path.write_bytes(content)

    with pytest.raises(UsageError, match=problem):
        read(path, *flags)


def test_rows_with_too_few_values_may_be_skipped(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """As invalid lines may; they are counted and reported."""
    path = tmp_path / "rows.csv"
    path.write_bytes(b"x,y\n1,2\n3\n4,5\n")

    with closing(open_source(parsed(path, "--skip-invalid"))) as source:
        assert [body(row.record) for row in source.rows(None)] == [
            {"x": 1, "y": 2},
            {"x": 4, "y": 5},
        ]
        assert source.skipped_rows == 1

    assert capsys.readouterr().err == f"{path}: a row has 1 values in place of 2: '3'\n"


@pytest.mark.parametrize("name", ["no-such-file.jsonl", "no-such-file.csv", "."])
def test_a_file_that_cannot_be_read_is_named(name: str, tmp_path: Path) -> None:
    """With the remedy; an empty folder has no images."""
    with pytest.raises(UsageError, match=r"give a file, a folder or -|holds no images"):
        read(tmp_path / name)


def test_a_file_without_pyarrow_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The bare install reads JSON Lines, numpy's files and images."""
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    (tmp_path / "rows.csv").write_bytes(b"x\n1\n")

    with pytest.raises(UsageError, match=r"pip install 'topicserve\[tables\]'"):
        read(tmp_path / "rows.csv")


@given(content=st.binary(max_size=200), form=st.sampled_from(["csv", "parquet", "npy", "npz"]))
def test_any_bytes_are_rows_or_an_error_of_one_line(
    content: bytes, form: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Whatever a file holds, a person is told."""
    path = tmp_path_factory.getbasetemp() / f"any.{form}"
    path.write_bytes(content)

    with suppress(UsageError, InvalidRecordError):
        assert isinstance(read(path), list)


@pytest.mark.parametrize("form", ["parquet", "csv"])
def test_memory_does_not_grow_with_the_file(
    form: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor with a row group: one is read in pages. Of CSV 32 blocks at most are read ahead."""
    monkeypatch.setattr(csv_table, "_BLOCK_BYTES", 64 * 1024)
    path = tmp_path / f"rows.{form}"
    table = pa.table({"x": np.random.default_rng(0).random(1_200_000)})
    if form == "parquet":
        parquet.write_table(table, path, row_group_size=len(table))
    else:
        csv.write_csv(table, path)
    size = path.stat().st_size
    del table
    before, most, rows = pa.total_allocated_bytes(), 0, 0
    tracemalloc.start()  # what Python reads for Arrow is not in Arrow's own account

    with closing(open_source(parsed(path))) as source:
        assert isinstance(source, TableSource)
        for chunk in source._table.chunks(0):
            rows += chunk.rows
            most = max(most, pa.total_allocated_bytes() - before)
    _, read = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert rows == 1_200_000
    assert most + read < 6 * 1024 * 1024 < size
