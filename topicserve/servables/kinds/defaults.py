"""Inputs that a caller may leave out: a SignatureDef's defaults.

TF Serving feeds a default as it is, one tensor for the whole call, whatever the rows of the other
inputs (tensorflow/cc/saved_model/util.cc, GetInputValues). So do we.
"""

from collections.abc import Container

from topicserve.servables.kinds.servable import Scope, Signature


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
