"""What every kind checks around a prediction."""

from typing import Any

import numpy as np
import pytest

from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.kinds.predict_checks import (
    check_rows,
    shape_fits,
    shape_text,
    unknown_signature,
)


def test_unknown_signature_names_those_there_are() -> None:
    """In order, so that the line is the same every time."""
    assert str(unknown_signature("x", ["b", "a"])) == "there is no signature 'x'; known: a, b"


@pytest.mark.parametrize("column", [np.zeros(()), np.zeros(1), np.zeros((3, 2)), np.float32(1)])
def test_output_of_other_rows_is_refused(column: Any) -> None:
    """Too few, too many, or none at all."""
    check_rows({"y": np.zeros((2, 5))}, 2)

    with pytest.raises(
        FailedPreconditionError, match=r"'y' has the shape .* for 2 rows; .* batch_records = false"
    ):
        check_rows({"x": np.zeros(2), "y": column}, 2)


@pytest.mark.parametrize(
    ("found", "declared", "fits"),
    [
        ((), (), True),
        ((3,), (3,), True),
        ((3,), (None,), True),
        ((3, 4), (3, None), True),
        ((3,), (4,), False),
        ((3,), (), False),
        ((), (None,), False),
    ],
)
def test_shapes_fit_as_far_as_they_are_known(found: Any, declared: Any, fits: bool) -> None:
    """An unknown size takes any, an unknown rank is not a shape."""
    assert shape_fits(found, declared) is fits


def test_unknown_size_is_a_question_mark() -> None:
    """In what a person reads."""
    assert shape_text((3, None)) == "[3, ?]"
