import contextlib
import io
from datetime import UTC, datetime

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.cli.publish import json_lines
from topicserve.cli.publish.json_lines import numbered_lines, read_record
from topicserve.producer.record import STORED_ELSEWHERE
from topicserve.wire.errors import InvalidRecordError


def test_a_line_says_everything_that_a_record_can() -> None:
    """Each key is the record's field of that name."""
    line = orjson.dumps(
        {
            "id": "7f1d1d0c-6f0e-4d53-9d5b-0a4f5d7b6c11",
            "instance": [0.5],
            "metadata": {"row": 7},
            "key": "camera-7",
            "servable": "digits",
            "version": 3,
            "signature_name": "embed",
            "deadline": "2030-01-02T03:04:05Z",
            "traceparent": "00-1",
            "tracestate": "a=b",
        }
    )

    record = read_record(line)

    assert record.record_id == "7f1d1d0c-6f0e-4d53-9d5b-0a4f5d7b6c11"
    assert (record.instance, record.metadata, record.key) == ([0.5], {"row": 7}, "camera-7")
    assert (record.servable, record.version, record.label) == ("digits", 3, None)
    assert (record.signature_name, record.traceparent, record.tracestate) == (
        "embed",
        "00-1",
        "a=b",
    )
    assert record.deadline == datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_rows_columns_and_labels_are_read() -> None:
    """TF Serving's bodies, as they stand in its documentation."""
    assert read_record(b'{"instances": [[1], [2]]}').instances == [[1], [2]]
    assert read_record(b'{"inputs": {"x": [1]}}').inputs == {"x": [1]}
    assert read_record(b'{"instance": 1, "label": "stable"}').label == "stable"


def test_a_line_without_metadata_declares_it_absent_unless_told_otherwise() -> None:
    """With --metadata-elsewhere the worker looks for what someone else has stored."""
    line = b'{"instance": 1}'

    assert read_record(line).metadata is None
    assert read_record(line, metadata_elsewhere=True).metadata is STORED_ELSEWHERE


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (b"{", "line"),
        (b"[1]", "line"),
        (b'{"instance": 1, "metdata": {}}', "metdata"),
        (b'{"instance": 1, "id": 7}', "id"),
        (b'{"instance": 1, "version": "3"}', "version"),
        (b'{"instance": 1, "version": true}', "version"),
        (b'{"instance": 1, "deadline": "soon"}', "deadline"),
        (b'{"instance": 1, "deadline": "2030-01-02T03:04Z"}', "deadline"),
    ],
)
def test_a_bad_line_is_refused_by_its_key(line: bytes, field: str) -> None:
    """The error names what to correct; a misspelt key is not taken for nothing."""
    with pytest.raises(InvalidRecordError) as caught:
        read_record(line)

    assert caught.value.field == field


@given(
    line=st.binary()
    | st.dictionaries(st.sampled_from(json_lines.KEYS), st.text()).map(orjson.dumps)
)
def test_no_line_raises_anything_else(line: bytes) -> None:
    """Whatever stands in a file, a line is a record or one kind of error."""
    with contextlib.suppress(InvalidRecordError):
        read_record(line)


def test_lines_are_numbered_as_an_editor_does() -> None:
    """Blank lines count, but are no records; the last one may lack its end."""
    lines = list(numbered_lines(io.BytesIO(b"a\n\n  \nb\nc")))

    assert lines == [(1, b"a\n"), (4, b"b\n"), (5, b"c")]


def test_a_line_without_end_does_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes cut, so that it is refused by its number, and the next line is read."""
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 4)

    assert list(numbered_lines(io.BytesIO(b"abcdefghij\nk\n"))) == [(1, b"abcd"), (2, b"k\n")]


def test_what_has_no_line_end_at_all_is_no_file_of_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stream might never end; what is before is read."""
    monkeypatch.setattr(json_lines, "MAX_LINE_BYTES", 4)
    monkeypatch.setattr(json_lines, "MAX_PASSED_BYTES", 12)
    lines = numbered_lines(io.BytesIO(b"k\n" + bytes(1000)))

    assert [next(lines), next(lines)] == [(1, b"k\n"), (2, bytes(4))]
    with pytest.raises(OSError, match="no line end within 1 GiB"):
        next(lines)


@pytest.mark.parametrize(
    "line",
    [
        b"[" * 1_020,
        b"[" * 50_000,
        b'{"instance":' + b'{"a":' * 1_030 + b"1" + b"}" * 1_031,
        b'{"instance":[NaN,' + b"[" * 1_030 + b"]" * 1_031 + b"}",
    ],
)
def test_a_line_nested_too_deeply_names_the_limit(line: bytes) -> None:
    """Whatever the parser calls it."""
    with pytest.raises(InvalidRecordError, match=r"line: .*limits\.max_nesting_depth"):
        read_record(line)


def test_a_long_key_is_told_by_its_beginning() -> None:
    """One of a megabyte does not fill the screen."""
    with pytest.raises(InvalidRecordError, match=rf"^{'k' * 64}\.\.\.: is not among id"):
        read_record(b'{"%b":1}' % (b"k" * 1_000_000))


def test_the_mark_at_the_beginning_of_a_file_is_no_part_of_its_first_line() -> None:
    """Editors of Windows write it; anywhere else it is no JSON."""
    mark = b"\xef\xbb\xbf"
    file = io.BytesIO(mark + b'{"instance":1}\n' + mark + b'{"instance":2}\n')

    (_, first), (_, second) = numbered_lines(file)

    assert read_record(first).instance == 1
    with pytest.raises(InvalidRecordError):
        read_record(second)
