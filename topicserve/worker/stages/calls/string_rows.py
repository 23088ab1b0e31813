"""Records whose value is one string: the only input that a signature must be given."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from topicserve.servables.kinds.servable import Columns, Signature
from topicserve.wire.bodies.value_rows import ValueRows
from topicserve.wire.input_record import InputRecord
from topicserve.worker.stages.calls.arrays import InvalidInputError, dtype_name
from topicserve.worker.stages.calls.columns import fit


def string_row(value: bytes, signature: Signature, record: InputRecord) -> Any:
    """Return the row that a string stands for, or raise InvalidInputError.

    For tf.Examples that is the string itself: one of them, serialized.
    """
    if signature.features is not None:
        return value
    name = _string_input(signature)
    if name is None:
        content_type = record.codec.content_type
        inputs = ", ".join(f"{n} ({dtype_name(spec)})" for n, spec in signature.inputs.items())
        raise InvalidInputError(
            f"a record of {content_type} is the one string input of its signature, which takes "
            f"{inputs or 'no input'}; send JSON or application/x-protobuf"
        )
    return {name: value}


def strings_at_once(layout: ValueRows, contents: Sequence[bytes], signature: Signature) -> Columns:
    """Return the column of many records, or raise InvalidInputError where each must be looked at.

    InvalidRecordError of a value that is no text does not tell which one it is, either.
    """
    name = _string_input(signature)
    if name is None or signature.features is not None or len(signature.inputs) != 1:
        raise InvalidInputError("must be read one by one")
    column = np.empty(len(contents), object)
    column[:] = [layout.row_of(content) for content in contents]
    return {name: fit(column, signature.inputs[name], name)}


def _string_input(signature: Signature) -> str | None:
    """Return the only input that must be given, or that there is, if it takes strings."""
    inputs = signature.inputs
    needed = [name for name in inputs if name not in signature.defaults]
    if not needed:
        needed = [name for name, spec in inputs.items() if spec.dtype.hasobject]
    return needed[0] if len(needed) == 1 and inputs[needed[0]].dtype.hasobject else None
