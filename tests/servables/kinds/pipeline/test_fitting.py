"""Columns fit from one step to the next where nothing is lost or guessed."""

from typing import Any

import numpy as np
import pytest

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.pipeline.fitting import as_fed, fit
from topicserve.servables.kinds.servable import FeatureSpec, Signature, TensorSpec


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ("int64", "int32"),
        ("int32", "float32"),
        ("float32", "float64"),
        ("float64", "float32"),
        ("bool", "int64"),
        ("object", "object"),
    ],
)
def test_dtype_changes_where_the_kind_allows(found: Any, wanted: Any) -> None:
    """Integers and floats are brought to the size that is declared."""
    column = np.array([0, 1]).astype(found)

    fitted = fit(column, TensorSpec(np.dtype(wanted), ()), "input 'x'")

    assert fitted.dtype == wanted
    assert fitted.tolist() == [0, 1]


@pytest.mark.parametrize(
    ("found", "wanted"),
    [("float32", "int64"), ("object", "float32"), ("int64", "bool"), ("float32", "object")],
)
def test_other_dtypes_are_refused(found: str, wanted: str) -> None:
    """Nothing is rounded or parsed in passing."""
    column = np.array([0, 1]).astype(found)

    with pytest.raises(InvalidArgumentError, match=r"input 'x' must be .*, found"):
        fit(column, TensorSpec(np.dtype(wanted), ()), "input 'x'")


@pytest.mark.parametrize(
    ("found", "declared", "fitted"),
    [
        ((2,), (1,), (2, 1)),
        ((2, 1), (), (2,)),
        ((2, 3), (3, 1), (2, 3, 1)),
        ((2, 1, 3), (None,), (2, 3)),
        ((2, 1), (None,), (2, 1)),
        ((2, 3), None, (2, 3)),
        ((0, 3), (3,), (0, 3)),
        ((0, 1), (), (0,)),
    ],
)
def test_shape_changes_by_dimensions_of_one(found: Any, declared: Any, fitted: Any) -> None:
    """A dimension of 1 comes or goes; all else stays."""
    column = np.zeros(found, np.float32)

    assert fit(column, TensorSpec(column.dtype, declared), "input 'x'").shape == fitted


@pytest.mark.parametrize(("found", "declared"), [((2, 3), (2,)), ((2, 3), (3, 2)), ((2,), (None,))])
def test_other_shapes_are_refused(found: Any, declared: Any) -> None:
    """Rows of another size are named with both shapes."""
    column = np.zeros(found, np.float32)

    with pytest.raises(InvalidArgumentError, match=r"input 'x' must have rows of the shape \["):
        fit(column, TensorSpec(column.dtype, declared), "input 'x'")


FLOAT32 = np.dtype(np.float32)
NUMBER = TensorSpec(FLOAT32, ())


def test_features_take_the_place_of_serialized_examples() -> None:
    """A step may feed those that it has; the input itself is taken as well."""
    signature = Signature(
        {"inputs": TensorSpec(np.dtype(object), ())},
        {},
        features={"age": FeatureSpec(FLOAT32, ()), "more": FeatureSpec(FLOAT32, (None,))},
    )

    assert as_fed(signature, {"age"}).inputs == {"age": NUMBER}
    assert as_fed(signature, {"inputs"}) == signature
    assert as_fed(signature, {"age", "other"}) == signature


def test_an_input_with_a_default_may_be_left_out() -> None:
    """Unless the default has several rows: those would be spread over the rows of the batch."""
    one, three = np.zeros(1, np.float32), np.zeros(3, np.float32)
    inputs = {"x": NUMBER, "bias": NUMBER}

    assert as_fed(Signature(inputs, {}, defaults={"bias": one}), {"x"}).inputs == {"x": NUMBER}
    assert as_fed(Signature(inputs, {}, defaults={"bias": one}), {"bias"}).inputs == inputs
    assert as_fed(Signature(inputs, {}, defaults={"bias": three}), {"x"}).inputs == inputs
