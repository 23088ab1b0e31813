"""The inputs of a call as units that may be sent apart: rows, or all of it as one unit."""

from collections.abc import Iterator, Sequence
from functools import cached_property
from hashlib import blake2b
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.kinds.predict_checks import check_rows, rows_of
from topicserve.servables.kinds.servable import Columns, Scope, Signature

Units = Sequence[int]
"""Which units, by their number in the call."""


class DividedInputs:
    """Knows the units of a call: its rows where the signature lets records share calls."""

    def __init__(self, inputs: Columns, signature: Signature) -> None:
        self.rows = rows_of(inputs, signature.inputs) or 0
        self._is_divisible = signature.joins_records and self.rows > 1
        self.count = self.rows if self._is_divisible else 1
        self._inputs = inputs
        self._signature = signature

    def of(self, units: Units) -> Columns:
        """Return the inputs of these units."""
        return self._inputs if len(units) == self.count else self._rows(units)

    def row(self, number: int) -> Columns:
        """Return the inputs of one row, also where rows are not to be sent apart."""
        return self._rows([number]) if self.rows > 1 else self._inputs

    def _rows(self, numbers: Units) -> Columns:
        return {
            name: column[list(numbers)] if self._has_rows(name) else column
            for name, column in self._inputs.items()
        }

    @cached_property
    def digests(self) -> Sequence[bytes]:
        """What tells units of different content apart."""
        if not self._is_divisible:
            return [self._digest(slice(None))]
        return [self._digest(slice(row, row + 1)) for row in range(self.count)]

    def join(self, answers: Sequence[tuple[Units, Columns]]) -> Columns:
        """Return the answers to all units, in the units' order."""
        if len(answers) == 1:
            return answers[0][1]
        for units, columns in answers:
            check_rows(columns, len(units), self._signature.outputs)
        order = np.argsort(np.concatenate([list(units) for units, _ in answers]), kind="stable")
        outputs, first = self._signature.outputs, answers[0][1]
        return {
            name: np.concatenate([columns[name] for _, columns in answers])[order]
            if name not in outputs or outputs[name].scope is Scope.ROW
            else first[name]
            for name in first
        }

    def each_answer(self, units: Units, columns: Columns) -> Iterator[tuple[int, Columns]]:
        """Yield the answer to each of these units, apart from the others' memory."""
        check_rows(columns, len(units), self._signature.outputs)
        outputs = self._signature.outputs
        for at, unit in enumerate(units):
            yield (
                unit,
                {
                    name: np.array(column[at : at + 1])
                    if name not in outputs or outputs[name].scope is Scope.ROW
                    else column
                    for name, column in columns.items()
                },
            )

    def _has_rows(self, name: str) -> bool:
        inputs = self._signature.inputs
        return name in inputs and inputs[name].scope is Scope.ROW

    def _digest(self, rows: slice) -> bytes:
        digest = blake2b(digest_size=16)
        for name, column in sorted(self._inputs.items()):
            part: NDArray[Any] = np.asarray(column)
            part = part[rows] if self._has_rows(name) else part
            digest.update(f"{name} {part.dtype} {part.shape} ".encode())
            if part.dtype.hasobject:
                for item in part.ravel().tolist():
                    content = item if isinstance(item, bytes) else repr(item).encode()
                    digest.update(len(content).to_bytes(8, "little"))
                    digest.update(content)
            else:
                digest.update(np.ascontiguousarray(part).tobytes())
        return digest.digest()
