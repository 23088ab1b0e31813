"""Steps that change values and leave the shape of rows alone."""

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

Numbers = float | Annotated[tuple[float, ...], Meta(min_length=1)]
"""One for all, or one for each element of the last dimension."""


class Scale(OneColumnStep, frozen=True, kw_only=True, tag="scale"):
    """(x - subtract) * multiply_by, in floats."""

    subtract: Numbers = 0.0
    multiply_by: Numbers = 1.0

    def infer(self, specs: Sequence[TensorSpec]) -> TensorSpec:
        """Floats keep their size, integers and booleans become float32."""
        (spec,) = specs
        need_numbers(spec)
        _need_last_size(spec, self.subtract, "subtract")
        _need_last_size(spec, self.multiply_by, "multiply_by")
        return TensorSpec(_float_of(spec.dtype), spec.shape)

    def apply(self, columns: Sequence[Array]) -> Array:
        """Return floats of the same shape."""
        (column,) = columns
        dtype = _float_of(column.dtype)
        scaled: Array = column.astype(dtype) - np.asarray(self.subtract, dtype)
        scaled *= np.asarray(self.multiply_by, dtype)
        return scaled


class Clip(OneColumnStep, frozen=True, kw_only=True, tag="clip"):
    """Brings what lies outside to the nearest limit; the dtype stays."""

    minimum: float | None = None
    maximum: float | None = None

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
            if spec.dtype.kind in "iu" and limit is not None and not _fits(limit, spec.dtype):
                raise InvalidArgumentError(f"`{name}` must be a value of {spec.dtype.name}")
        return spec

    def apply(self, columns: Sequence[Array]) -> Array:
        """Return numbers of the same dtype and shape."""
        (column,) = columns
        low, high = (
            None if limit is None else column.dtype.type(limit)
            for limit in (self.minimum, self.maximum)
        )
        clipped: Array = np.clip(column, low, high)
        return clipped


class Bucketize(OneColumnStep, frozen=True, kw_only=True, tag="bucketize"):
    """The number of boundaries that are at most x, as tf.raw_ops.Bucketize has it."""

    # Compared as floats of the column's own size: 0.7 as float32 lies below 0.7 as float64.

    boundaries: Annotated[tuple[float, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        if any(
            low >= high for low, high in zip(self.boundaries, self.boundaries[1:], strict=False)
        ):
            raise ValueError("`boundaries` must increase")

    def infer(self, specs: Sequence[TensorSpec]) -> TensorSpec:
        """Numbers become int64."""
        (spec,) = specs
        need_numbers(spec)
        return TensorSpec(INT64, spec.shape)

    def apply(self, columns: Sequence[Array]) -> Array:
        """Return bucket numbers of the same shape."""
        (column,) = columns
        dtype = column.dtype if column.dtype.kind == "f" else np.float64
        boundaries = np.asarray(self.boundaries, dtype)
        buckets: Array = np.searchsorted(boundaries, column, side="right")
        return buckets.astype(np.int64)


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
    if isinstance(numbers, float) or spec.shape is None:
        return
    last = spec.shape[-1] if spec.shape else 1
    if not spec.shape or (last is not None and last != len(numbers)):
        raise InvalidArgumentError(f"`{name}` has {len(numbers)} numbers for rows of {last}")


def _float_of(dtype: np.dtype[Any]) -> np.dtype[Any]:
    return dtype if dtype.kind == "f" else FLOAT32


def _fits(limit: float, dtype: np.dtype[Any]) -> bool:
    info = np.iinfo(dtype)
    return limit == int(limit) and info.min <= limit <= info.max
