"""Rows of JSON numbers, a batch in one go."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from topicserve.wire.json_codec import numbers as json_numbers
from topicserve.wire.json_codec.numbers import lone_row_of, read_number_rows

FLOAT32, FLOAT64, INT64 = np.dtype(np.float32), np.dtype(np.float64), np.dtype(np.int64)


def lone_rows(rows: Any) -> list[bytes]:
    """Return rows as bodies."""
    return [b'{"instance":%b}' % orjson.dumps(row) for row in rows]


def read(*rows: bytes, shape: tuple[int, ...] = (2,), dtype: np.dtype[Any] = FLOAT64) -> Any:
    """Read rows of JSON; None also where one of them is several."""
    return read_bodies([b'{"instance":%b}' % row for row in rows], shape, dtype)


def read_bodies(bodies: list[bytes], shape: tuple[int, ...], dtype: np.dtype[Any]) -> Any:
    """Read lone rows."""
    found = read_number_rows(bodies, lone_row_of, shape, dtype)
    return None if found is None or max(found[1]) > 1 else found[0]


_shapes = arrays.array_shapes(min_dims=1, max_dims=4, max_side=4)


@given(
    rows=arrays.arrays(np.float64, _shapes)
    .filter(lambda rows: bool(np.isfinite(rows).all()))
    .map(lambda rows: rows.tolist())
)
def test_numbers_are_what_they_are_when_read_one_by_one(rows: list[Any]) -> None:
    """Both parsers round alike, to the last bit."""
    expected = np.asarray(rows)

    found = read_bodies(lone_rows(rows), expected.shape[1:], FLOAT64)

    assert found is not None
    np.testing.assert_array_equal(found, expected)


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1, max_size=8))
def test_integers_keep_all_their_bits(numbers: list[int]) -> None:
    """An id of 64 bits would lose some as a float."""
    found = read_bodies(lone_rows(numbers), (), INT64)

    assert found is not None
    assert found.tolist() == numbers


def test_unsigned_integers_use_their_whole_range() -> None:
    """The largest is no int64."""
    found = read(b"[0,18446744073709551615]", dtype=np.dtype(np.uint64))

    assert found.tolist() == [[0, 2**64 - 1]]


def test_numbers_come_in_the_dtype_asked_for() -> None:
    """And whole numbers are floats, too."""
    found = read(b" [ 1 , 2.5e0 ] ", dtype=FLOAT32)

    assert found.dtype == np.float32
    assert found.tolist() == [[1.0, 2.5]]


@pytest.mark.parametrize(
    "row",
    [
        b"[1,2,3]",
        b"[1]",
        b"[]",
        b"1",
        b"",
        b"[[1,2]]",
        b"[1,[2]]",
        b"[[],1]",
        b"[1,true]",
        b"[1,null]",
        b'[1,"2"]',
        b"[1,NaN]",
        b"[1,1e400]",
        b"[1,18446744073709551616]",
        b"[1,01]",
        b"[1,2",
        b"1,2]",
        b"[1,2]]",
        b"[1,2],[3,4]",
        b"[1 2,3]",
        b"[,1]",
    ],
)
def test_a_row_that_is_something_else_is_left_to_the_caller(row: bytes) -> None:
    """Anyone who looks at rows one by one says what is wrong with it."""
    assert read(b"[5,6]", row, b"[7,8]") is None


def test_rows_that_are_sound_only_together_are_refused() -> None:
    """Three bodies that are no JSON must not pass for three rows, and move the good one's."""
    assert read(b"[1", b"2]", b"[7,8]", b"[3,4],[5,6]") is None


@pytest.mark.parametrize("row", [b"[1,2.5]", b"[1,9223372036854775808]"])
def test_what_is_no_integer_is_left_to_the_caller(row: bytes) -> None:
    """Nothing is rounded or wrapped around."""
    assert read(row, dtype=INT64) is None


def test_a_long_batch_is_read_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """A parser keeps room for the longest text it ever read, so none is longer than it must be."""
    monkeypatch.setattr(json_numbers, "_CHUNK_BYTES", 100)
    rows = np.arange(200.0).reshape(100, 2)

    found = read_bodies(lone_rows(rows.tolist()), (2,), FLOAT64)

    assert found is not None
    np.testing.assert_array_equal(found, rows)
