"""What a servable returned, in arrays that no later call of it writes to.

A servable may return the same buffer from every call of a thread, as interpreters with bound
outputs do. What it returned is read later, after the other calls of its batch. So it is copied,
except from kinds that return new arrays and say so.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.kinds.servable import Columns


def own_arrays(servable: Any, outputs: Columns) -> Columns:
    """Return the outputs of a call, copied unless the servable has `returns_new_arrays = True`.

    FailedPreconditionError for a masked array: what is under its mask would be taken for values.
    """
    if getattr(servable, "returns_new_arrays", False) is True or not isinstance(outputs, Mapping):
        return outputs
    return {name: _own(name, column) for name, column in outputs.items()}


def _own(name: str, column: Any) -> Any:
    if not isinstance(column, np.ndarray):
        return column
    if isinstance(column, np.ma.MaskedArray):
        raise FailedPreconditionError(
            f"output {name!r} is a masked array; fill what is masked, such as with filled(0)"
        )
    array: NDArray[Any] = np.asarray(column)  # a matrix would keep two dimensions in each row
    if 0 not in array.strides:
        return array.copy()
    # What is repeated takes no memory, and must not take any now.
    once = array[tuple(slice(0, 1) if stride == 0 else slice(None) for stride in array.strides)]
    return np.broadcast_to(once.copy(), array.shape)
