"""From a SignatureDef to something that can be called with columns."""

from typing import Any, NamedTuple

from topicserve.servables.saved_model.examples import ExampleCall
from topicserve.servables.saved_model.fixed_rows import FixedRowsCall
from topicserve.servables.saved_model.parsed_features import find_features
from topicserve.servables.saved_model.runtime import Session
from topicserve.servables.saved_model.signature_call import SignatureCall, TensorCall
from topicserve.servables.signature_def import declared_rows, takes_examples


class BoundSignature(NamedTuple):
    """A signature's tensors, and how rows get there."""

    tensors: TensorCall
    call: SignatureCall


def bind_signature(session: Session, signature_def: Any) -> BoundSignature:
    """Return what calls the signature, or raise what TensorCall raises."""
    tensors = TensorCall(session, signature_def)
    call: SignatureCall = tensors
    rows = declared_rows(signature_def.inputs)
    if rows is not None:
        call = FixedRowsCall(call, rows)
    if takes_examples(tensors.signature):
        (info,) = signature_def.inputs.values()
        outputs = [output.name for output in signature_def.outputs.values()]
        call = ExampleCall(call, find_features(session.graph, info.name, outputs))
    return BoundSignature(tensors, call)
