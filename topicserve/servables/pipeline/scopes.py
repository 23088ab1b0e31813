"""What has rows after a step, told from what goes into it."""

from collections.abc import Mapping
from dataclasses import replace

from topicserve.servables.servable import Scope, Signature, TensorSpec

Specs = Mapping[str, TensorSpec]


def outputs_of_step(signature: Signature, sources: Specs) -> Specs | None:
    """Return the specs of a step's outputs as the pipeline sees them; `sources` feed its inputs.

    A step on rows gives rows. One whose rows are a tensor of the whole call, as a label table's
    that is fed with class names, gives tensors of the whole call. None where neither is certain:
    then the records of a batch must not go through the step together.
    """
    scopes = {
        wanted: {
            sources[name].scope for name, spec in signature.inputs.items() if spec.scope is wanted
        }
        for wanted in Scope
    }
    if scopes[Scope.UNKNOWN] or not scopes[Scope.CALL] <= {Scope.CALL}:
        return None
    if scopes[Scope.ROW] == {Scope.ROW}:
        return signature.outputs
    if scopes[Scope.ROW] <= {Scope.CALL}:
        return {name: _of_the_call(spec) for name, spec in signature.outputs.items()}
    return None


def input_of_both(first: TensorSpec, second: TensorSpec) -> TensorSpec:
    """Return the spec of an input that two steps use."""
    return first if first.scope is second.scope else TensorSpec(first.dtype, None, Scope.UNKNOWN)


def untold(specs: Specs) -> Specs:
    """Return the specs of tensors that may have rows or not."""
    return {name: TensorSpec(spec.dtype, None, Scope.UNKNOWN) for name, spec in specs.items()}


def with_scopes_of(declared: Signature, derived: Signature) -> Signature:
    """Return what a pipeline's file declares, with the scopes that its steps show.

    The file speaks of rows; where there are none its shape says nothing.
    """

    def told(one: Specs, other: Specs) -> Specs:
        return {
            name: spec
            if name not in other or other[name].scope is Scope.ROW
            else replace(other[name], dtype=spec.dtype)
            for name, spec in one.items()
        }

    return replace(
        declared,
        inputs=told(declared.inputs, derived.inputs),
        outputs=told(declared.outputs, derived.outputs),
        rows_are_independent=derived.rows_are_independent,
        parts=derived.parts,
    )


def _of_the_call(spec: TensorSpec) -> TensorSpec:
    shape = spec.shape
    if spec.scope is Scope.ROW and shape is not None:
        shape = (None, *shape)
    return TensorSpec(
        spec.dtype, shape, Scope.UNKNOWN if spec.scope is Scope.UNKNOWN else Scope.CALL
    )
