"""Steps that change the shape of rows, their columns or their names."""

from collections.abc import Sequence
from typing import Annotated

import numpy as np
from msgspec import Meta

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.servable import TensorSpec
from topicserve.servables.kinds.transform.step import (
    FLOAT32,
    INT64,
    Array,
    OneColumnStep,
    TransformStep,
    dtype_name,
    need_numbers,
)


class OneHot(OneColumnStep, frozen=True, kw_only=True, tag="one_hot"):
    """A dimension more, with a 1 at the place that the integer names; outside of it all 0."""

    depth: Annotated[int, Meta(ge=1, le=65_536)]

    def infer(self, specs: Sequence[TensorSpec]) -> TensorSpec:
        """Integers become float32 of one dimension more."""
        (spec,) = specs
        if spec.dtype.kind not in "iu":
            raise InvalidArgumentError(f"takes integers, found {dtype_name(spec.dtype)}")
        return TensorSpec(FLOAT32, None if spec.shape is None else (*spec.shape, self.depth))

    def apply(self, columns: Sequence[Array]) -> Array:
        """Return float32 of the shape [..., depth]."""
        (column,) = columns
        return np.asarray(column[..., None] == np.arange(self.depth), np.float32)


class Argmax(OneColumnStep, frozen=True, kw_only=True, tag="argmax"):
    """The place of the greatest number in the last dimension; the first of several.

    As tf.argmax has it, what is not a number is no greatest one.
    """

    def infer(self, specs: Sequence[TensorSpec]) -> TensorSpec:
        """Numbers become int64 of one dimension less."""
        (spec,) = specs
        need_numbers(spec)
        if spec.shape is not None and (not spec.shape or spec.shape[-1] == 0):
            raise InvalidArgumentError("takes rows of at least one dimension, with elements")
        return TensorSpec(INT64, None if spec.shape is None else spec.shape[:-1])

    def apply(self, columns: Sequence[Array]) -> Array:
        """Return int64 without the last dimension."""
        (column,) = columns
        if column.ndim < 2:
            raise InvalidArgumentError("takes rows of at least one dimension")
        if column.dtype.kind == "f":
            column = np.where(np.isnan(column), -np.inf, column)
        return np.asarray(column.argmax(axis=-1), np.int64)


class Reshape(OneColumnStep, frozen=True, kw_only=True, tag="reshape"):
    """The same elements in rows of another shape; -1, once, stands for what is left."""

    shape: tuple[Annotated[int, Meta(ge=-1)], ...]

    def __post_init__(self) -> None:
        if self.shape.count(-1) > 1:
            raise ValueError("`shape` must have at most one -1")

    def infer(self, specs: Sequence[TensorSpec]) -> TensorSpec:
        """Where all is known, the numbers of elements must agree."""
        (spec,) = specs
        if spec.shape is None or None in spec.shape:
            return TensorSpec(spec.dtype, tuple(None if n == -1 else n for n in self.shape))
        one_row = np.empty((1, *(size for size in spec.shape if size is not None)), np.bool_)
        return TensorSpec(spec.dtype, self.apply([one_row]).shape[1:])

    def apply(self, columns: Sequence[Array]) -> Array:
        """Return rows of the shape."""
        (column,) = columns
        elements = int(np.prod(column.shape[1:]))
        rest = int(np.prod([size for size in self.shape if size != -1]))
        sizes = [elements // rest if size == -1 and rest else max(size, 0) for size in self.shape]
        if int(np.prod(sizes)) != elements:
            raise InvalidArgumentError(
                f"rows of the shape {list(column.shape[1:])} cannot become {list(self.shape)}"
            )
        return column.reshape(len(column), *sizes)


class Rename(OneColumnStep, frozen=True, kw_only=True, tag="rename"):
    """The same column under another name."""

    def __post_init__(self) -> None:
        if self.output is None:
            raise ValueError("rename must have an `output`")

    def infer(self, specs: Sequence[TensorSpec]) -> TensorSpec:
        """Pass on what goes in."""
        return specs[0]

    def apply(self, columns: Sequence[Array]) -> Array:
        """Return the column."""
        return columns[0]


class Concatenate(TransformStep, frozen=True, kw_only=True, tag="concatenate"):
    """Columns side by side in the last dimension; one of single values counts as one of [1]."""

    columns: Annotated[tuple[str, ...], Meta(min_length=1)]

    def __post_init__(self) -> None:
        if self.output is None:
            raise ValueError("concatenate must have an `output`")

    @property
    def inputs(self) -> Sequence[str]:
        """Return the columns in their order."""
        return self.columns

    def infer(self, specs: Sequence[TensorSpec]) -> TensorSpec:
        """Dtypes and all sizes but the last must agree."""
        dtypes = {spec.dtype for spec in specs}
        if len(dtypes) > 1:
            found = ", ".join(sorted(dtype_name(dtype) for dtype in dtypes))
            raise InvalidArgumentError(f"takes columns of one dtype, found {found}; cast them")
        shapes = [spec.shape or (1,) for spec in specs if spec.shape is not None]
        if len(shapes) < len(specs):
            return TensorSpec(specs[0].dtype, None)
        if len({len(shape) for shape in shapes}) > 1 or not all(
            _agree(sizes) for sizes in zip(*(shape[:-1] for shape in shapes), strict=True)
        ):
            raise InvalidArgumentError(f"takes columns alike but for the last size, found {shapes}")
        last = [shape[-1] for shape in shapes]
        total = None if None in last else sum(size for size in last if size is not None)
        firsts = zip(*(shape[:-1] for shape in shapes), strict=True)
        return TensorSpec(specs[0].dtype, (*(_known(sizes) for sizes in firsts), total))

    def apply(self, columns: Sequence[Array]) -> Array:
        """Return them in one."""
        parts = [column[:, None] if column.ndim == 1 else column for column in columns]
        return np.concatenate(parts, axis=-1)


def _agree(sizes: Sequence[int | None]) -> bool:
    return len({size for size in sizes if size is not None}) <= 1


def _known(sizes: Sequence[int | None]) -> int | None:
    return next((size for size in sizes if size is not None), None)
