"""Inputs come apart in rows and together again."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from topicserve.servables.kinds.remote.divided_inputs import DividedInputs
from topicserve.servables.kinds.servable import Scope, Signature, TensorSpec

STRINGS, FLOATS = np.dtype(object), np.dtype(np.float32)
SIGNATURE = Signature(
    {
        "s": TensorSpec(STRINGS, (2,)),
        "f": TensorSpec(FLOATS, ()),
        "k": TensorSpec(FLOATS, (), Scope.CALL),
    },
    {"s": TensorSpec(STRINGS, (2,)), "k": TensorSpec(FLOATS, (), Scope.CALL)},
)


def columns(strings: list[tuple[bytes, bytes]], keep: float = 1.0) -> Any:
    """Return inputs with a row for each pair."""
    table = np.empty((len(strings), 2), object)
    table[:] = strings
    return {"s": table, "f": np.zeros(len(strings), np.float32), "k": np.float32(keep)}


@given(st.lists(st.tuples(st.binary(max_size=3), st.binary(max_size=3)), min_size=2), st.data())
def test_rows_come_together_in_their_order(strings: Any, data: Any) -> None:
    """In whichever parts and order they were sent."""
    parts = DividedInputs(columns(strings), SIGNATURE)
    order = data.draw(st.permutations(range(parts.count)))
    middle = data.draw(st.integers(1, len(order) - 1))

    found = parts.join([(units, parts.of(units)) for units in (order[:middle], order[middle:])])

    assert found["s"].tolist() == [list(pair) for pair in strings]
    assert found["k"] == 1


@given(st.lists(st.tuples(st.binary(max_size=2), st.binary(max_size=2)), min_size=2))
def test_rows_of_equal_content_alone_have_equal_digests(strings: Any) -> None:
    """What is for the whole call included."""
    digests = DividedInputs(columns(strings), SIGNATURE).digests

    assert len(set(digests)) == len(set(strings))
    assert not {*digests} & {*DividedInputs(columns(strings, 2.0), SIGNATURE).digests}


def test_rows_that_depend_on_each_other_are_one_unit() -> None:
    """They share a call always; a single row can be asked for all the same."""
    signature = Signature(SIGNATURE.inputs, SIGNATURE.outputs, is_called_alone=True)
    inputs = columns([(b"a", b"b"), (b"c", b"d")])
    parts = DividedInputs(inputs, signature)

    assert (parts.count, parts.rows, len(parts.digests)) == (1, 2, 1)
    assert parts.of([0]) is inputs
    assert parts.row(1)["s"].tolist() == [[b"c", b"d"]]
