"""From a SignatureDef to something that can be called with columns."""

from dataclasses import replace
from typing import Any, NamedTuple

from topicserve.servables.kinds.saved_model.examples import ExampleCall
from topicserve.servables.kinds.saved_model.fixed_rows import FixedRowsCall
from topicserve.servables.kinds.saved_model.graph.dataflow import Dataflow, tensor_of
from topicserve.servables.kinds.saved_model.parsed_features import find_features
from topicserve.servables.kinds.saved_model.runtime import Session
from topicserve.servables.kinds.saved_model.signature_call import SignatureCall, TensorCall
from topicserve.servables.kinds.servable import Scope, Signature, TensorSpec
from topicserve.servables.kinds.signature_def import read_signature, rows_of_a_call, takes_examples


class BoundSignature(NamedTuple):
    """A signature's tensors, and how rows get there."""

    tensors: TensorCall
    call: SignatureCall


def bind_signature(
    session: Session, signature_def: Any, dataflow: Dataflow, batch_records: bool | None
) -> BoundSignature:
    """Return what calls the signature, or raise what TensorCall raises."""
    signature = with_passed_inputs(read_signature(signature_def, batch_records), signature_def)
    if batch_records is not False:
        signature = with_outputs_of_the_graph(signature, signature_def, dataflow)
    tensors = TensorCall(session, signature_def, signature)
    call: SignatureCall = tensors
    rows = rows_of_a_call(signature_def, signature)
    if rows is not None:
        call = FixedRowsCall(call, rows)
    if takes_examples(tensors.signature):
        (info,) = signature_def.inputs.values()
        outputs = [output.name for output in signature_def.outputs.values()]
        call = ExampleCall(call, find_features(session.graph, info.name, outputs))
    return BoundSignature(tensors, call)


def with_passed_inputs(signature: Signature, signature_def: Any) -> Signature:
    """Return the signature with the scope and the shape of an input for an output that is one.

    Whatever such an output declares.
    """
    inputs = {tensor_of(signature_def.inputs[name].name): name for name in signature.inputs}
    outputs = dict(signature.outputs)
    for name, spec in outputs.items():
        origin = inputs.get(tensor_of(signature_def.outputs[name].name))
        if origin is not None:
            outputs[name] = replace(signature.inputs[origin], dtype=spec.dtype)
    return replace(signature, outputs=outputs)


def with_outputs_of_the_graph(
    signature: Signature, signature_def: Any, dataflow: Dataflow
) -> Signature:
    """Return the signature with the scopes that the graph shows, whatever an output declares.

    What no row goes into has a row for each only by chance: it has Scope.CALL. What goes through
    state that a call writes to may hold rows of another call: it is not shared, unless the owner
    vouches for the model.
    """
    fed = {info.name: signature.inputs[name] for name, info in signature_def.inputs.items()}
    rows = {tensor for tensor, spec in fed.items() if spec.scope is not Scope.CALL}
    if not any(spec.scope is Scope.ROW for spec in fed.values()):
        return signature
    outputs = dict(signature.outputs)
    flows = dataflow.into([signature_def.outputs[name].name for name in outputs], fed)
    for (name, spec), flow in zip(signature.outputs.items(), flows, strict=True):
        if flow.is_through_state and not signature.rows_are_independent:
            outputs[name] = _of_state(spec)
        elif not flow.leaves & rows:
            outputs[name] = _without_rows(spec, Scope.CALL)
    return replace(signature, outputs=outputs)


def _of_state(spec: TensorSpec) -> TensorSpec:
    """Return the spec of what may be another call's: whether it has rows only its length tells."""
    is_by_row = spec.scope in (Scope.ROW, Scope.UNKNOWN)
    return _without_rows(spec, Scope.UNKNOWN if is_by_row else Scope.BATCH)


def _without_rows(spec: TensorSpec, scope: Scope) -> TensorSpec:
    shape = spec.shape
    if spec.scope is Scope.ROW and shape is not None:
        shape = (None, *shape)
    return TensorSpec(spec.dtype, shape, scope)
