"""Answers of every dtype and shape that a servable may give can be compared with one another."""

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from numpy.typing import NDArray

from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.worker.stages.calls.outputs import _ML_DTYPES, _NUMBERS, check_outputs
from topicserve.worker.stages.calls.tolerance import is_equal, is_identical, is_same, scale_of

DTYPES = [
    *map(np.dtype, sorted(_NUMBERS)),
    *(np.dtype(getattr(ml_dtypes, n)) for n in sorted(_ML_DTYPES)),
]
TEXTS = [np.dtype("S3"), np.dtype("U3"), np.dtype(object)]
SHAPES = arrays.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3)


def filled(dtype: np.dtype[Any], shape: tuple[int, ...], numbers: list[float]) -> NDArray[Any]:
    """Return an array of these numbers, repeated."""
    flat = np.resize(np.array(numbers), int(np.prod(shape)))
    if dtype in TEXTS:
        texts = [f"{int(abs(n)) % 100}" if np.isfinite(n) else "" for n in flat.tolist()]
        own = [text.encode() for text in texts] if dtype.kind == "O" else texts
        return np.array(own, dtype).reshape(shape)
    with np.errstate(all="ignore"):
        wide = flat if dtype.kind in "fcV" else np.nan_to_num(flat, posinf=9, neginf=-9)
        return np.asarray(wide.astype(dtype).reshape(shape))


@st.composite
def columns(draw: Any) -> NDArray[Any]:
    """Draw an output, of one number without dimensions or of none among them."""
    numbers = st.sampled_from([0.0, 1.5, -3.0, 1e30, -1e300, float("inf"), float("nan"), 7.0])
    return filled(
        draw(st.sampled_from([*DTYPES, *TEXTS])),
        draw(SHAPES),
        draw(st.lists(numbers, min_size=1, max_size=6)),
    )


@given(columns(), columns(), st.booleans())
def test_every_output_is_the_same_as_its_copy(
    column: NDArray[Any], other: NDArray[Any], has_rows: bool
) -> None:
    """Whatever it holds; and one of another dtype and content is compared without an error."""
    check_outputs({"y": column}, 1)
    scale = scale_of(column, has_rows=has_rows)

    assert is_same(column, column.copy(), scale)
    assert is_equal(column, column.copy(), scale)
    assert column.dtype.hasobject or is_identical(column, column.copy())
    if column.shape == other.shape:
        assert is_same(column, other, scale) or not is_identical(column, other)
        assert is_equal(column, other, scale) or not is_identical(column, other)


@pytest.mark.parametrize("shape", [(), (2,), (1, 2)])
@pytest.mark.parametrize("dtype", [*DTYPES, *TEXTS], ids=str)
def test_another_value_is_a_difference(dtype: np.dtype[Any], shape: tuple[int, ...]) -> None:
    """In every dtype and shape."""
    one, other = filled(dtype, shape, [1.0]), filled(dtype, shape, [0.0])

    assert not is_same(one, other, scale_of(one, has_rows=False))


@pytest.mark.parametrize("dtype", [np.float32, np.complex64])
def test_an_imaginary_part_is_a_difference(dtype: Any) -> None:
    """Also where one of both has none at all."""
    real, complex_one = np.ones(2, dtype), np.array([1, 1 + 2j], np.complex64)

    assert not is_same(real, complex_one, scale_of(real, has_rows=True))
    assert not is_same(complex_one, real, scale_of(complex_one, has_rows=True))


@pytest.mark.parametrize("value", [3.0, float("nan"), float("inf"), -1e36, 3e38, -0.0])
def test_a_number_without_dimensions_is_compared(value: float) -> None:
    """A loss or a rate: no array, where numpy takes its size."""
    one = np.array(value, np.float32)

    assert is_same(one, one.copy(), scale_of(one, has_rows=False))
    assert not is_same(one, np.array(5, np.float32), scale_of(one, has_rows=False))


def test_what_cannot_be_compared_is_no_output() -> None:
    """Such as dates and records."""
    for dtype in ("M8[s]", "i4,f4"):
        with pytest.raises(FailedPreconditionError):
            check_outputs({"y": np.zeros(1, dtype)}, 1)
