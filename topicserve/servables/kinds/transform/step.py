"""What a step of a transform is: data from a file, never code.

A step says twice what it does: `infer` on specs, when the file is read, and `apply` on columns.
What `infer` lets pass `apply` computes; only sizes that no spec knows can still be wrong then.
"""

from abc import ABCMeta, abstractmethod
from collections.abc import Sequence
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.servable import TensorSpec

Array = NDArray[Any]

FLOAT32, INT64 = np.dtype(np.float32), np.dtype(np.int64)


class _AbstractStructMeta(msgspec.StructMeta, ABCMeta):
    """Lets a struct have abstract methods."""


class TransformStep(
    msgspec.Struct,
    metaclass=_AbstractStructMeta,
    frozen=True,
    kw_only=True,
    forbid_unknown_fields=True,
    tag_field="step",
):
    """What all steps have: columns that go in, and the name of the one that comes out."""

    output: str | None = None
    """By default the name of the input, which it then replaces."""

    @property
    @abstractmethod
    def inputs(self) -> Sequence[str]:
        """Return the names of the columns that go in."""

    @abstractmethod
    def infer(self, specs: Sequence[TensorSpec]) -> TensorSpec:
        """Return what comes out, or raise InvalidArgumentError where that does not go in."""

    @abstractmethod
    def apply(self, columns: Sequence[Array]) -> Array:
        """Return the column that comes out."""


class OneColumnStep(TransformStep, frozen=True, kw_only=True):
    """A step on one column."""

    input: str

    @property
    def inputs(self) -> Sequence[str]:
        """Return the one column."""
        return [self.input]


def need_numbers(spec: TensorSpec) -> None:
    """Raise InvalidArgumentError for strings."""
    if spec.dtype.hasobject:
        raise InvalidArgumentError("takes numbers, found strings")


def dtype_name(dtype: np.dtype[Any]) -> str:
    """Return what the file calls a dtype."""
    return "string" if dtype.hasobject else dtype.name
