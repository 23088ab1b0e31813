"""What a servable answered, checked before anything is made of it.

A servable may be a user's own, or a remote one's answer: it may return anything.
"""

from collections.abc import Mapping
from math import prod
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.kinds.servable import Columns

# The most that an array counts for whose elements are written one by one, whatever memory it takes:
# repeated values and empty lists take none, but are written all the same.
MAX_OUTPUT_BYTES_A_ROW = 1024 * 1024 * 1024
# numpy's own numbers, by kind and size. Longer ones (float128) have no counterpart in a tensor.
_NUMBERS = frozenset("?bBhHiIlLqQefdFD")
_TEXT = frozenset("OSU")
# Of TensorFlow's, which are of numpy's kind V: floats all.
_ML_DTYPES = frozenset(
    {
        "bfloat16",
        "float8_e5m2",
        "float8_e4m3fn",
        "float8_e4m3fnuz",
        "float8_e4m3b11fnuz",
        "float8_e5m2fnuz",
    }
)


def check_outputs(outputs: Any, rows: int) -> Columns:
    """Return the outputs as arrays: numpy's scalars become arrays without dimensions.

    Raises FailedPreconditionError for outputs of so many rows that no result can carry.
    """
    if not isinstance(outputs, Mapping):
        raise FailedPreconditionError(
            f"the servable returned {_described(outputs)}, not columns by name"
        )
    if not outputs:
        raise FailedPreconditionError("the servable returned no outputs")
    if any(isinstance(column, np.generic) for column in outputs.values()):
        outputs = {
            name: np.asarray(column) if isinstance(column, np.generic) else column
            for name, column in outputs.items()
        }
    for name, column in outputs.items():
        _check_name(name)
        if not isinstance(column, np.ndarray):
            raise FailedPreconditionError(
                f"output {name!r} is {_described(column)}, not a numpy array"
            )
        _check_dtype(name, column.dtype)
        if column.dtype.kind in "OU":
            _check_text(name, column)
        # What is empty counts as if it were not: its lists are written all the same.
        size = column.nbytes or column.dtype.itemsize * prod(one or 1 for one in column.shape)
        if size > MAX_OUTPUT_BYTES_A_ROW * max(rows, 1):
            raise FailedPreconditionError(
                f"output {name!r} has the shape {column.shape}, which is too large"
            )
    checked: Columns = outputs
    return checked


def _check_name(name: Any) -> None:
    if not isinstance(name, str):
        raise FailedPreconditionError(f"the name of an output is {_described(name)}, not a string")
    if not name.isascii():
        try:
            name.encode()
        except UnicodeEncodeError:
            raise FailedPreconditionError(
                f"the name of an output is no Unicode text: {name[:64]!a}"
            ) from None


def _check_dtype(name: str, dtype: np.dtype[Any]) -> None:
    if dtype.char in _NUMBERS or dtype.kind in _TEXT:
        return
    if dtype.names is None and dtype.subdtype is None and dtype.name in _ML_DTYPES:
        return
    raise FailedPreconditionError(
        f"output {name!r} has the dtype {str(dtype)[:64]}, which no result can carry"
    )


def _check_text(name: str, column: NDArray[Any]) -> None:
    items = column.ravel().tolist()
    kinds = set(map(type, items))
    if kinds == {bytes}:
        return  # what TensorFlow returns, and any bytes can be written
    for kind in kinds:
        if not issubclass(kind, (bytes, str)):
            raise FailedPreconditionError(
                f"output {name!r} has elements of type {kind.__name__}, not bytes or str"
            )
    try:
        "".join([item for item in items if isinstance(item, str)]).encode()
    except UnicodeEncodeError:
        raise FailedPreconditionError(f"output {name!r} has a string that is no Unicode") from None


def _described(value: Any) -> str:
    return "None" if value is None else f"of type {type(value).__name__}"
