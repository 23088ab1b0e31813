"""Bodies of many rows of numbers are known by their ends, and mean what a parser reads in them."""

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import Raw

from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.json_codec.body import Form, read_json_body, tree_of
from topicserve.wire.json_codec.number_rows import NumberRows, number_rows
from topicserve.wire.json_codec.numbers import read_number_rows

INSTANCES, INPUTS, NAMED = (
    NumberRows("instances", None),
    NumberRows("inputs", None),
    NumberRows("inputs", "x"),
)
OBJECTS = NumberRows("instances", "x", in_objects=True)
FLOAT64 = np.dtype(np.float64)


@pytest.mark.parametrize(
    ("body", "found"),
    [
        (b'{"instances":[[1,2],[3,4]]}', (INSTANCES, 2)),
        (b'{"instances": [1.0, 2.0, 3.0]}', (INSTANCES, 3)),
        (b' { "instances" : [ [ -1 , 2 ] ] } \n', (INSTANCES, 1)),
        (b'{"inputs":[[[1],[2]],[[3],[4]]]}', (INPUTS, 2)),
        (b'{"inputs": {"x": [[1], [2]]}}', (NAMED, 2)),
        (b'{"instances":[{"x":[1,2]},{"x":[3,4]}]}', (OBJECTS, 2)),
        (b'{"instances": [{"x": 1.0}, {"x": 2.0}]}', (OBJECTS, 2)),
        (b'{"instances":[[[]],[[]],[[]]]}', (INSTANCES, 3)),
    ],
)
def test_rows_of_numbers_are_known(body: bytes, found: Any) -> None:
    """With white space or without, of any dimensions."""
    assert number_rows(body) == found
    assert read_json_body(body).rows == found[1]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b'{"instances":[]}',
        b'{"instances":[["a"]]}',
        b'{"instances":[{"x":"a"}]}',
        b'{"instances":[{"x":1},{"y":2}]}',
        b'{"instances":[{"x":1,"y":2}]}',
        b'{"instances":[{}]}',
        b'{"inputs":[{"x":1}]}',
        b'{"instances":{"x":[1]}}',
        b'{"instances":[[1]],"signature_name":"s"}',
        b'{"signature_name":"s","instances":[[1]]}',
        b'{"instances":[[1]]}}',
        b'{"instances":[[1]],}',
        b'{"instances":[[1]] 5}',
        b'{"inputs":{"x":[[1]]}',
        b'{"inputs":{"x":[[1]]},"y":2}',
        b'{"inputs":{"x":[[1]],"y":[[1]]}}',
        b'{"inputs":{"\\u0078":[[1]]}}',
        b'{"inputs":{"\xff":[[1]]}}',
        b'{"inputs":5}',
        b'{"instance":[1]}',
        b'{"instances":[[1',
    ],
)
def test_other_bodies_are_parsed(body: bytes) -> None:
    """What has more in it, or ends otherwise."""
    assert number_rows(body) is None


def test_a_signature_may_be_named_beside_the_rows() -> None:
    """Behind or before them."""
    for body in (
        b'{"signature_name":"s","instances":[[1],[2]]}',
        b'{"inputs":{"x":[[1],[2]]},"signature_name":"s"}',
    ):
        found = read_json_body(body)

        assert found.signature_name == "s"
        assert found.rows == 2
        assert found.number_rows is not None
        assert tree_of(found.content, found.form) in ([[1], [2]], {"x": [[1], [2]]})


def read(*bodies: bytes, shape: tuple[int, ...] = (2,), kind: NumberRows = INSTANCES) -> Any:
    """Read the rows of bodies at once; None where they are something else."""
    contents = [Raw(body) for body in bodies]
    return read_number_rows(contents, kind.rows_of, shape, FLOAT64, in_objects=kind.in_objects)


def test_each_body_has_its_own_rows() -> None:
    """One after the other, and counted."""
    rows, counts = read(b'{"instances":[[1,2],[3,4]]}', b'{"instances": [[5, 6]]}')

    assert rows.tolist() == [[1, 2], [3, 4], [5, 6]]
    assert counts == [2, 1]


@pytest.mark.parametrize(
    "bodies",
    [
        (b'{"instances":[[1,2],[3]}', b'{"instances":[4],[5,6]]}'),
        (b'{"instances":[[1,2],3]}', b'{"instances":[4,[5,6]]}'),
        (b'{"instances":[[1,2]],[[3,4]]}',),
        (b'{"instances":[[1,2],[3,4,5]]}',),
        (b'{"instances":[[1,2],[3]]}',),
        (b'{"instances":[[1,2],]}',),
        (b'{"instances":[[1,{}]]}',),
        (b'{"instances":[[1,true]]}',),
        (b'{"instances":[[1,NaN]]}',),
        (b'{"instances":[[1,2e400]]}',),
    ],
)
def test_what_is_something_else_is_left_to_the_caller(bodies: tuple[bytes, ...]) -> None:
    """Also bodies that are no JSON, and would be some only together."""
    assert read(b'{"instances":[[7,8]]}', *bodies, b'{"instances":[[7,8]]}') is None


@pytest.mark.parametrize(
    "body",
    [
        b'{"instances":[{"x":[1,2]]}',
        b'{"instances":[{"x":[1,2]],{"x":[3,4}}]}',
        b'{"instances":[{"x":[1,2]},{"x":{"x":[3,4]}}]}',
        b'{"instances":[{"x":[1,2]},[3,4]]}',
        b'{"instances":[{"x":[1,{"x":2}]}]}',
        b'{"instances":[{"x":5[1,2]}]}',
        b'{"instances":[{"x":[1,2]5}]}',
        b'{"instances":[{"x":[1,2]},{}]}',
        b'{"instances":[{"x":[1,2]},{"x":[3,4],{}}]}',
        b'{"instances":[{"x":[1,2]}]]}',
    ],
)
def test_objects_that_are_something_else_are_left_to_the_caller(body: bytes) -> None:
    """No JSON, or not one value in each: none passes for rows."""
    good = b'{"instances":[{"x":[7,8]}]}'

    assert read(good, body, good, kind=OBJECTS) is None
    assert read(good, good, kind=OBJECTS)[0].tolist() == [[7, 8], [7, 8]]


texts = st.text("[]{},:. \n0123456789-eEx", max_size=24).map(str.encode)


@given(texts | st.lists(st.lists(st.integers(-9, 9), max_size=3), min_size=1).map(orjson.dumps))
def test_any_rows_are_read_as_a_parser_reads_them(text: bytes) -> None:
    """Or refused, both ways: what is read at once is what the tree holds."""
    for body, form in (
        (b'{"instances":[%b]}' % text, Form.INSTANCES),
        (b'{"instances":%b}' % text, Form.INSTANCES),
        (b'{"inputs":{"x":%b}}' % text, Form.INPUTS),
        (b'{"instances":[{"x":%b}]}' % text, Form.INSTANCES),
        (b'{"instances":[{"x":%b},{"x":%b}]}' % (text, text[::-1]), Form.INSTANCES),
    ):
        known = number_rows(body)
        if known is None:
            continue
        try:
            tree = tree_of(Raw(body), form)
        except InvalidRecordError:
            tree = None
        for shape in ((), (1,), (2,), (1, 2), (3,)):
            found = read(body, shape=shape, kind=known[0])
            if found is not None:
                rows = tree["x"] if form is Form.INPUTS else tree
                rows = [row["x"] for row in rows] if known[0].in_objects else rows
                assert found[0].tolist() == np.array(rows, np.float64).tolist()
                assert found[1] == [len(rows)] == [read_json_body(body).rows]
