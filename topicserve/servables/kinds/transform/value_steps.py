"""Steps that change values and leave the shape of rows alone."""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import numpy as np
from msgspec import Meta

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.json_file import DtypeName, dtype_of
from topicserve.servables.kinds.servable import TensorSpec
from topicserve.servables.kinds.transform.step import (
    FLOAT32,
    INT64,
    Array,
    OneColumnStep,
    need_numbers,
)

Number = int | float
"""As the file has it: a float holds integers of 53 bits alone."""
Numbers = Number | Annotated[tuple[Number, ...], Meta(min_length=1)]
"""One for all, or one for each element of the last dimension."""


class Scale(OneColumnStep, frozen=True, kw_only=True, tag="scale"):
    """(x - subtract) * multiply_by, in floats."""

    subtract: Numbers = 0
    multiply_by: Numbers = 1

    def infer(self, specs: Sequence[TensorSpec]) -> TensorSpec:
        """Floats keep their size, integers and booleans become float32."""
        (spec,) = specs
        need_numbers(spec)
        dtype = _float_of(spec.dtype)
        for name, numbers in (("subtract", self.subtract), ("multiply_by", self.multiply_by)):
            _need_last_size(spec, numbers, name)
            _as_floats(numbers, dtype, name)
        return TensorSpec(dtype, spec.shape)

    def apply(self, columns: Sequence[Array]) -> Array:
        """Return floats of the same shape."""
        (column,) = columns
        dtype = _float_of(column.dtype)
        scaled: Array = column.astype(dtype) - _as_floats(self.subtract, dtype, "subtract")
        scaled *= _as_floats(self.multiply_by, dtype, "multiply_by")
        return scaled


class Clip(OneColumnStep, frozen=True, kw_only=True, tag="clip"):
    """Brings what lies outside to the nearest limit; the dtype stays."""

    minimum: Number | None = None
    maximum: Number | None = None

    def __post_init__(self) -> None:
        if self.minimum is None and self.maximum is None:
            raise ValueError("clip must have a `minimum` or a `maximum`")
        if None not in (self.minimum, self.maximum) and self.minimum > self.maximum:  # type: ignore[operator]
            raise ValueError("`minimum` must not be above `maximum`")

    def infer(self, specs: Sequence[TensorSpec]) -> TensorSpec:
        """Pass on numbers."""
        (spec,) = specs
        need_numbers(spec)
        if spec.dtype.kind == "b":
            raise InvalidArgumentError("takes numbers, found booleans")
        for name, limit in (("minimum", self.minimum), ("maximum", self.maximum)):
            if limit is None:
                continue
            if spec.dtype.kind not in "iu":
                _as_floats(limit, spec.dtype, name)
            elif not _fits(limit, spec.dtype):
                raise InvalidArgumentError(f"`{name}` must be a value of {spec.dtype.name}")
        return spec

    def apply(self, columns: Sequence[Array]) -> Array:
        """Return numbers of the same dtype and shape."""
        (column,) = columns
        low, high = (
            None if limit is None else np.asarray(limit).astype(column.dtype)
            for limit in (self.minimum, self.maximum)
        )
        clipped: Array = np.clip(column, low, high)
        return clipped


class Bucketize(OneColumnStep, frozen=True, kw_only=True, tag="bucketize"):
    """The number of boundaries that are at most x, as tf.raw_ops.Bucketize has it."""

    # Compared in the column's own dtype: 0.7 as float32 lies below 0.7 as float64, and no float
    # holds all integers of 64 bits.

    boundaries: Annotated[tuple[Number, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        if any(
            low >= high for low, high in zip(self.boundaries, self.boundaries[1:], strict=False)
        ):
            raise ValueError("`boundaries` must increase")

    def infer(self, specs: Sequence[TensorSpec]) -> TensorSpec:
        """Numbers become int64."""
        (spec,) = specs
        need_numbers(spec)
        if spec.dtype.kind == "f":
            _as_floats(self.boundaries, spec.dtype, "boundaries")
        return TensorSpec(INT64, spec.shape)

    def apply(self, columns: Sequence[Array]) -> Array:
        """Return bucket numbers of the same shape."""
        (column,) = columns
        if column.dtype.kind == "f":
            boundaries = _as_floats(self.boundaries, column.dtype, "boundaries")
            return np.searchsorted(boundaries, column, side="right").astype(np.int64)
        integers = column.astype(np.uint8) if column.dtype.kind == "b" else column
        limits = np.iinfo(integers.dtype)
        # An integer is at least a boundary where it is at least the next integer above.
        above = [math.ceil(boundary) for boundary in self.boundaries]
        below = sum(boundary < limits.min for boundary in above)
        among = [boundary for boundary in above[below:] if boundary <= limits.max]
        found = np.searchsorted(np.array(among, integers.dtype), integers, side="right")
        return below + found.astype(np.int64)


class Cast(OneColumnStep, frozen=True, kw_only=True, tag="cast"):
    """Numbers and booleans in another dtype, as numpy casts: floats to integers towards 0."""

    dtype: DtypeName

    def infer(self, specs: Sequence[TensorSpec]) -> TensorSpec:
        """Change the dtype."""
        (spec,) = specs
        if spec.dtype.hasobject or self.dtype == "string":
            raise InvalidArgumentError("strings cannot be cast")
        return TensorSpec(dtype_of(self.dtype), spec.shape)

    def apply(self, columns: Sequence[Array]) -> Array:
        """Return the column in the dtype."""
        (column,) = columns
        return column.astype(dtype_of(self.dtype))


def _need_last_size(spec: TensorSpec, numbers: Numbers, name: str) -> None:
    if not isinstance(numbers, tuple) or spec.shape is None:
        return
    last = spec.shape[-1] if spec.shape else 1
    if not spec.shape or (last is not None and last != len(numbers)):
        raise InvalidArgumentError(f"`{name}` has {len(numbers)} numbers for rows of {last}")


def _float_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype if dtype.kind == "f" else FLOAT32


def _as_floats(numbers: Numbers, dtype: np.dtype[Any], name: str) -> Array:
    try:
        with np.errstate(over="ignore"):  # a limit that is infinite limits nothing
            return np.asarray(numbers, dtype)
    except OverflowError:
        raise InvalidArgumentError(f"`{name}` must be of values of {dtype.name}") from None


def _fits(limit: Number, dtype: np.dtype[Any]) -> bool:
    info = np.iinfo(dtype)
    return limit == int(limit) and info.min <= limit <= info.max
