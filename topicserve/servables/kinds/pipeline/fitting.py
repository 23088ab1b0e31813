"""Brings a column that one step gives into the form that the next one takes."""

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.defaults import must_be_alone
from topicserve.servables.kinds.number_ranges import in_dtype, may_change, range_text
from topicserve.servables.kinds.predict_checks import shape_fits, shape_text
from topicserve.servables.kinds.servable import Scope, Signature, TensorSpec


def as_fed(signature: Signature, names: AbstractSet[str]) -> Signature:
    """Return the signature with these inputs alone, as far as it can do with them.

    Features take the place of the serialized examples, and an input that is left out has its
    default.
    """
    if signature.features and names <= signature.features.keys():
        features = signature.features
        return replace(
            signature,
            inputs={name: TensorSpec(features[name].dtype, features[name].shape) for name in names},
        )
    if signature.defaults and not must_be_alone(signature, names):
        kept = names | (signature.inputs.keys() - signature.defaults.keys())
        return replace(
            signature, inputs={name: s for name, s in signature.inputs.items() if name in kept}
        )
    return signature


def check_dtype(found: np.dtype[Any], wanted: np.dtype[Any], where: str) -> None:
    """Raise InvalidArgumentError where no column of one dtype is ever fed as another one."""
    if not may_change(found, wanted):
        raise InvalidArgumentError(f"{where} must be {_name(wanted)}, found {_name(found)}")


def check_dtypes(signature: Signature, sources: Mapping[str, TensorSpec], where: str) -> None:
    """Raise InvalidArgumentError where what feeds a step has a dtype that it never takes."""
    for name, spec in signature.inputs.items():
        check_dtype(sources[name].dtype, spec.dtype, f"{where}: input {name!r}")


def fit(column: NDArray[Any], spec: TensorSpec, where: str) -> NDArray[Any]:
    """Return the column in the dtype and shape of `spec`.

    A dtype may change to another size of its kind or from integers to floats, as far as the dtype
    holds the numbers; a row's shape only by dimensions of 1. All else is InvalidArgumentError.
    """
    if column.dtype != spec.dtype:
        check_dtype(column.dtype, spec.dtype, where)
        column, lost = in_dtype(column, spec.dtype)
        if lost is not None:
            raise InvalidArgumentError(f"{where}: {range_text(lost, spec.dtype)}")
    if spec.scope is not Scope.ROW:
        # As the only row of a column.
        return _reshaped(column[None], spec.shape, where)[0, ...]
    if column.ndim == 0:
        raise InvalidArgumentError(f"{where} must have rows, found a scalar")
    return _reshaped(column, spec.shape, where)


def _reshaped(
    column: NDArray[Any], declared: tuple[int | None, ...] | None, where: str
) -> NDArray[Any]:
    found = column.shape[1:]
    if declared is None or shape_fits(found, declared):
        return column
    rest = [size for size in found if size != 1]
    if not shape_fits(rest, [size for size in declared if size != 1]):
        raise InvalidArgumentError(
            f"{where} must have rows of the shape {shape_text(declared)}, found {shape_text(found)}"
        )
    sizes = iter(rest)
    return column.reshape(len(column), *(1 if size == 1 else next(sizes) for size in declared))


def _name(dtype: np.dtype[Any]) -> str:
    return "strings" if dtype.hasobject else dtype.name
