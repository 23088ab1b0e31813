"""Shapes as docs/wire_format.md says: where tensors have rows, and where nothing counts as rows."""

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.stages.records import a_request
from topicserve.servables.kinds.servable import Scope, Signature, TensorSpec
from topicserve.wire.json_codec.body import Form
from topicserve.worker.stages.calls.feeds import build_feeds
from topicserve.worker.stages.calls.record_columns import same_in

FLOAT32 = np.dtype(np.float32)
BY_ROW = Signature({"x": TensorSpec(FLOAT32, (2,))}, {})
# What the option batch_records = false makes of a declared [?, 2].
UNBATCHED = Signature({"x": TensorSpec(FLOAT32, (None, 2), Scope.UNKNOWN)}, {})


def fed(signature: Signature, payload: Any, form: Form) -> Any:
    """Return the shape that a record's input is fed in, or why it is refused."""
    payload = {"x": np.zeros(payload, np.float32)} if form is Form.TENSORS else payload
    feeds, rejections = build_feeds([a_request(payload, form=form)], signature)
    return str(rejections[0].error) if rejections else feeds[0].columns["x"].shape


@pytest.mark.parametrize(
    ("form", "payload", "by_row", "unbatched"),
    [
        (Form.INSTANCE, [1, 2], (1, 2), (1, 2)),
        (Form.INSTANCE, [[1, 2]], (1, 2), (1, 2)),
        (Form.INSTANCE, [[1], [2]], (1, 2), "[?, 2], found [2, 1]"),
        (Form.INPUTS, [[1, 2], [3, 4]], (2, 2), (2, 2)),
        (Form.INPUTS, [1, 2], "[2], found []", "[?, 2], found [2]"),
        (Form.TENSORS, (2,), "[2], found []", "[?, 2], found [2]"),
        (Form.TENSORS, (3, 2, 1), (3, 2), (3, 2)),
        (Form.TENSORS, (1, 3, 2), "[2], found [3, 2]", (3, 2)),
        (Form.TENSORS, (0, 2), "x: has no rows", (0, 2)),
    ],
)
def test_shapes_fit_as_the_page_says(form: Form, payload: Any, by_row: Any, unbatched: Any) -> None:
    """With rows, and with batch_records = false, where sizes are those of the whole tensor."""
    for signature, right in ((BY_ROW, by_row), (UNBATCHED, unbatched)):
        found = fed(signature, payload, form)
        assert right in found if isinstance(right, str) else found == right


few_numbers = st.sampled_from([0.0, -0.0, 1.0, float("nan")])
few_texts = st.sampled_from(["", "a", "b"])


@given(
    st.sampled_from([(few_numbers, FLOAT32), (few_texts, np.dtype(object))]).flatmap(
        lambda kind: st.tuples(
            st.lists(st.lists(kind[0], min_size=2, max_size=2), min_size=1, max_size=3),
            st.just(kind[1]),
        )
    )
)
def test_an_input_of_the_call_is_the_same_in_all_rows(given_: tuple[Any, np.dtype[Any]]) -> None:
    """Bit by bit, as if each row was compared with the first."""
    rows, dtype = given_
    signature = Signature({"x": TensorSpec(dtype, (2,), Scope.CALL)}, {})

    found = fed(signature, rows, Form.INSTANCES)

    of_rows = [same_in(np.array(row, dtype)) for row in rows]
    if all(one == of_rows[0] for one in of_rows):
        assert found == (2,)
    else:
        assert "must be the same in all rows" in found
