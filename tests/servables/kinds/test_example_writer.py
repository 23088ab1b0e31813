"""Examples are written as protobuf's own messages would be, a row at a time or by the column."""

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.servables.example_messages import example_message
from topicserve.protos.example_pb2 import Example
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.example_rows import examples_of_columns, examples_of_rows
from topicserve.servables.kinds.servable import FeatureSpec, Signature, TensorSpec

STRING = np.dtype(object)
FEATURES = {
    "f": FeatureSpec(np.dtype(np.float32), (None,)),
    "i": FeatureSpec(np.dtype(np.int64), (None,)),
    "s": FeatureSpec(STRING, (None,), is_required=True),
}
MANY_ROWS = 5000
"""More than are written at a time."""

integers = st.integers(-200, 200) | st.integers(-(2**65), 2**65) | st.just(10**400)
scalars = st.one_of(
    st.none(),
    st.booleans(),
    integers,
    st.floats(),
    st.sampled_from([0.0, -0.0, 1.0, 1e39, -1e300]),
    st.text(max_size=3) | st.text(min_size=126, max_size=130),
    st.binary(max_size=3),
)
lists = st.lists(scalars, max_size=3) | st.lists(scalars.flatmap(st.just), min_size=8, max_size=20)
one_kind = st.sampled_from([st.integers(-300, 2**63), st.floats(), st.text(max_size=2)])
long_lists = one_kind.flatmap(lambda kind: st.lists(kind, max_size=12))
values = st.one_of(scalars, lists, long_lists, st.lists(st.lists(scalars, max_size=2), max_size=2))
likely = {
    "f": st.integers(-9, 9) | st.floats() | st.lists(st.floats(), max_size=12),
    "i": st.integers(-(2**63), 2**63 - 1) | st.booleans() | st.lists(st.integers(0, 9)),
    "s": st.text(max_size=3) | st.binary(max_size=2) | st.lists(st.text(max_size=2)),
}
good_rows = st.fixed_dictionaries(
    {"s": likely["s"]}, optional={name: likely[name] for name in "fi"}
)
rows_alike = st.fixed_dictionaries(likely)
any_rows = st.dictionaries(st.sampled_from(["f", "i", "s", "more", "\ud800", ""]), values)


def a_signature(*, is_seen: bool) -> Signature:
    """Return a signature whose features can be told from the graph, or cannot."""
    features = FEATURES if is_seen else {}
    return Signature({"inputs": TensorSpec(STRING, ())}, {}, features=features)


def outcome(make: Callable[[], list[Any]]) -> list[Any] | str:
    """Return what was made as text, or else the feature at fault."""
    try:
        return [shown(example) for example in make()]
    except InvalidArgumentError as error:
        return str(error).split(":")[0].split(" is ")[0]


def written_as_columns(columns: dict[str, Any], signature: Signature) -> list[Any] | str:
    """Return what becomes of columns by feature."""
    return outcome(lambda: examples_of_columns(columns, signature)["inputs"].tolist())


def made_of_messages(rows: list[dict[str, Any]], features: dict[str, Any]) -> list[Any] | str:
    """Return what becomes of rows."""
    return outcome(lambda: [example_message(row, features) for row in rows])


def shown(example: Example | bytes) -> str:
    """Return an example as text: not-a-number is not itself, and a map has no order."""
    if isinstance(example, bytes):
        example = Example.FromString(example)
    return repr(sorted((name, str(one)) for name, one in example.features.feature.items()))


@given(
    st.one_of(*(st.lists(rows, max_size=4) for rows in (good_rows, rows_alike, any_rows))),
    st.booleans(),
)
def test_rows_are_written_as_messages_would_be(rows: list[dict[str, Any]], is_seen: bool) -> None:
    """Whatever they hold, and the first feature at fault is the same."""
    signature = a_signature(is_seen=is_seen)

    written = outcome(lambda: examples_of_rows(rows, signature)["inputs"].tolist())

    assert written == made_of_messages(rows, dict(signature.features or {}))


@given(st.one_of(*(st.lists(rows, min_size=1, max_size=6) for rows in (rows_alike, any_rows))))
@example([{"f": 0.0}, {"f": -0.0}])
def test_columns_are_written_as_their_rows_would_be(rows: list[dict[str, Any]]) -> None:
    """Of the features that the first row has, where all of them have it."""
    names = [name for name in rows[0] if all(name in row for row in rows)]
    columns = {name: [row[name] for row in rows] for name in names}
    alike = [{name: row[name] for name in names} for row in rows]
    for is_seen in (True, False):
        signature = a_signature(is_seen=is_seen)
        features = dict(signature.features or {})
        if any(not features or name in features for name in names):
            assert written_as_columns(columns, signature) == made_of_messages(alike, features)


@pytest.mark.parametrize("beside", [{}, {"z": ["", "a" * 200]}], ids=["alone", "beside strings"])
@pytest.mark.parametrize(
    "column",
    [
        [0.0, -0.0] * MANY_ROWS,
        list(range(-MANY_ROWS, MANY_ROWS)),
        list(range(MANY_ROWS, 2 * MANY_ROWS)),
        [2**63 - 1, -(2**63), 2**62, *(2**bits for bits in range(7, 63, 7))] * 500,
        [[7], [2**40]] * MANY_ROWS,
        [[0.5]] * MANY_ROWS,
        [True, 0, 300] * MANY_ROWS,
        ["", "a" * 200, b"\xff\x00"] * MANY_ROWS,
        [[1.5], 2.5, [3, 4.0], []] * MANY_ROWS,
    ],
    ids=lambda column: str(column[:3])[:20],
)
def test_a_long_column_is_the_same_as_its_rows(
    column: list[Any], beside: dict[str, list[Any]]
) -> None:
    """Some rows are written at a time, those of one length at once."""
    unseen = a_signature(is_seen=False)
    others = {name: (items * len(column))[: len(column)] for name, items in beside.items()}
    columns = {"x": column, "y": column, **others}
    rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]

    written = examples_of_columns(columns, unseen)["inputs"]

    expected = [example_message(row, {}) for row in rows[:10]]
    assert len(written) == len(column)
    assert [shown(one) for one in written[:10]] == [shown(one) for one in expected]
    assert written.tolist() == [examples_of_rows([row], unseen)["inputs"][0] for row in rows]


@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.bool_, object])
def test_an_array_is_written_as_its_list_would_be(dtype: type) -> None:
    """A tensor of a message is the same rows as a list in JSON."""
    array: np.ndarray[Any, Any] = (np.arange(MANY_ROWS) % 300).astype(dtype)
    unseen = a_signature(is_seen=False)

    written = examples_of_columns({"x": array}, unseen)["inputs"].tolist()

    assert written == examples_of_columns({"x": array.tolist()}, unseen)["inputs"].tolist()


def test_the_first_of_many_rows_at_fault_is_told() -> None:
    """By its first feature, as if the rows were written one after the other."""
    rows: list[dict[str, Any]] = [{"s": "a", "f": 1.0, "i": number} for number in range(MANY_ROWS)]
    rows[MANY_ROWS - 9] |= {"i": "second", "f": "first"}
    rows[MANY_ROWS - 5] |= {"s": 1}
    columns = {name: [row[name] for row in rows] for name in rows[0]}

    with pytest.raises(InvalidArgumentError, match="feature 'f': must be numbers, found a string"):
        examples_of_rows(rows, a_signature(is_seen=True))
    with pytest.raises(InvalidArgumentError, match="feature 'f': must be numbers, found a string"):
        examples_of_columns(columns, a_signature(is_seen=True))


@pytest.mark.parametrize("kind", [float, int, str])
def test_equal_rows_of_a_long_column_are_one_object(kind: type) -> None:
    """A message of 1 MiB has a million rows where each takes a byte, which has 256 values."""
    column = [kind(number % 200) for number in range(2 * MANY_ROWS)]

    written = examples_of_columns({"x": column}, a_signature(is_seen=False))["inputs"].tolist()

    assert len({id(example) for example in written}) < len(written) / 8
