"""Inputs that a caller may leave out: a SignatureDef's defaults.

TF Serving feeds a default as it is, one tensor for the whole call, whatever the rows of the other
inputs (tensorflow/cc/saved_model/util.cc, GetInputValues). So do we.
"""

from collections.abc import Container

import numpy as np

from topicserve.servables.kinds.servable import Columns, Scope, Signature


def must_be_alone(signature: Signature, given: Container[str]) -> bool:
    """Return whether a record that gives these inputs must not share a call.

    A default of one row, or for the whole call, says the same to every row. One of several rows
    does not: how many rows there are would then decide what each of them gets.
    """
    return any(
        signature.inputs[name].scope is Scope.ROW and default.shape[:1] not in ((), (1,))
        for name, default in signature.defaults.items()
        if name not in given
    )


def with_rows_of_defaults(columns: Columns, signature: Signature, rows: int) -> Columns:
    """Return the columns of a record with so many rows, also where it gives no input with rows.

    Then each row has the defaults of one row. All others are fed as they are.
    """
    specs = signature.inputs
    if signature.features is not None or any(specs[n].scope is Scope.ROW for n in columns):
        return columns
    repeated = {
        name: np.repeat(default, rows, axis=0)
        for name, default in signature.defaults.items()
        if specs[name].scope is Scope.ROW and default.shape[:1] == (1,)
    }
    return {**columns, **repeated}
