"""Columns fit from one step to the next where nothing is lost or guessed."""

from typing import Any

import ml_dtypes  # noqa: F401 - which numpy knows the name bfloat16 by
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.pipeline.fitting import as_fed, check_dtypes, fit
from topicserve.servables.kinds.servable import FeatureSpec, Signature, TensorSpec


@pytest.mark.parametrize(
    ("found", "wanted"),
    [
        ("int64", "int32"),
        ("int32", "float32"),
        ("float32", "float64"),
        ("float64", "float32"),
        ("float32", "bfloat16"),
        ("bfloat16", "float64"),
        ("int64", "bfloat16"),
        ("int64", "uint8"),
        ("uint64", "int64"),
        ("float32", "complex64"),
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
    [
        *(("float32", "int64"), ("object", "float32"), ("int64", "bool"), ("float32", "object")),
        *(("complex64", "bfloat16"), ("complex64", "float64"), ("bfloat16", "int8")),
    ],
)
def test_other_dtypes_are_refused(found: str, wanted: str) -> None:
    """Nothing is rounded or parsed in passing, and a signature shows it beforehand."""
    column = np.array([0, 1]).astype(found)
    spec = TensorSpec(np.dtype(wanted), ())

    with pytest.raises(InvalidArgumentError, match=r"input 'x' must be .*, found"):
        fit(column, spec, "input 'x'")
    with pytest.raises(InvalidArgumentError, match=r"step 's': input 'x' must be .*, found"):
        check_dtypes(Signature({"x": spec}, {}), {"x": TensorSpec(column.dtype)}, "step 's'")


@pytest.mark.parametrize(
    ("value", "found", "wanted", "message"),
    [
        (2**32 + 7, "int64", "int32", "is out of range for int32, which is from -2147483648 to"),
        (-1, "int64", "uint64", "is out of range for uint64, which is from 0 to 1844674407370"),
        (2**63, "uint64", "int64", "is out of range for int64, which is from -9223372036854"),
        (70_000, "int32", "float16", "is out of range for float16, which is from -65504.0 to"),
        (1e300, "float64", "float32", "is out of range for float32, which is from -3.40282"),
        (-70_000.0, "float32", "float16", "is out of range for float16, which is from -65504"),
        (3.4028e38, "float32", "bfloat16", "is out of range for bfloat16, which is from -3.38"),
        (1e300, "complex128", "complex64", "is out of range for complex64, which is from -3.4"),
    ],
)
def test_a_number_that_does_not_fit_is_refused(
    value: Any, found: str, wanted: str, message: str
) -> None:
    """With the number and the range; it never wraps around, and never becomes infinite."""
    column = np.array([0, value, 1]).astype(found)

    with pytest.raises(InvalidArgumentError, match=r"^input 'x': ") as error:
        fit(column, TensorSpec(np.dtype(wanted), ()), "input 'x'")

    assert message in str(error.value)


NUMBERS = [
    *("int8", "uint8", "int16", "uint16", "int32", "uint32", "int64", "uint64"),
    *("float16", "bfloat16", "float8_e5m2", "float32", "float64", "complex64", "complex128"),
]


@given(
    st.sampled_from(NUMBERS),
    st.sampled_from(NUMBERS),
    st.lists(
        st.integers(-(2**63), 2**64 - 1)
        | st.sampled_from([-1, 127, 128, 255, 256, 65504, 65520])
        | st.floats()
        | st.floats(-1e6, 1e6),
        max_size=4,
    ),
)
def test_what_fits_is_the_same_number_afterwards(
    found: str, wanted: str, values: list[float]
) -> None:
    """An integer stays itself, a float is rounded and stays finite; all else is refused."""
    with np.errstate(all="ignore"):
        column = np.array([_number(value, found) for value in values], np.dtype(found))

    try:
        fitted = fit(column, TensorSpec(np.dtype(wanted), ()), "input 'x'")
    except InvalidArgumentError:
        return

    before, after = column.tolist(), fitted.tolist()
    assert fitted.dtype == wanted
    if np.dtype(wanted).kind in "iu":
        assert after == before
    assert np.isfinite(fitted).tolist() == np.isfinite(column).tolist()


def _number(value: float, dtype: str) -> Any:
    """Return a number that an array of the dtype can be made of."""
    if np.dtype(dtype).kind not in "iu":
        return float(value)
    limits = np.iinfo(dtype)
    return min(max(int(value), limits.min), limits.max) if np.isfinite(value) else 0


def test_all_numbers_that_a_dtype_holds_fit() -> None:
    """Its least and its greatest, infinities and what is not a number."""
    wide = np.array([-65504.0, 65504.0, 65519.0, np.inf, -np.inf, np.nan])

    assert fit(wide, TensorSpec(np.dtype(np.float16), ()), "x")[:3].tolist() == [
        -65504,
        65504,
        65504,
    ]
    for limit in (-(2**31), 2**31 - 1):
        assert fit(np.array([limit]), TensorSpec(np.dtype(np.int32), ()), "x").tolist() == [limit]


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
