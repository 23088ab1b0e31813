"""A signature that takes exactly so many rows, made to take any number."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.errors import InvalidArgumentError
from topicserve.servables.saved_model.signature_call import SignatureCall
from topicserve.servables.servable import Columns, Signature


class FixedRowsCall:
    """Calls the signature as often as the rows need.

    The last call is filled up with its last row, and what that gives is thrown away.
    """

    def __init__(self, call: SignatureCall, rows: int) -> None:
        self._call = call
        self._rows = rows

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""
        return self._call.signature

    def predict(self, inputs: Columns) -> Columns:
        """Return as many rows as came in."""
        total = len(next(iter(inputs.values())))
        if total == 0:
            raise InvalidArgumentError("there must be at least one row")
        parts = [
            self._call.predict({name: self._part(inputs[name], start) for name in inputs})
            for start in range(0, total, self._rows)
        ]
        return {name: np.concatenate([part[name] for part in parts])[:total] for name in parts[0]}

    def _part(self, column: NDArray[Any], start: int) -> NDArray[Any]:
        part = column[start : start + self._rows]
        missing = self._rows - len(part)
        return np.concatenate([part, np.repeat(part[-1:], missing, axis=0)]) if missing else part
