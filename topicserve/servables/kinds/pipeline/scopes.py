"""What has rows after a step, told from its signature and from what goes into it.

A scope speaks of the pipeline's own rows: Scope.ROW is one value for each row that the pipeline is
called with. A step keeps what its signature says, as far as what it is fed with allows.
"""

from collections.abc import Mapping
from dataclasses import replace

from topicserve.servables.kinds.servable import Scope, Signature, TensorSpec

Specs = Mapping[str, TensorSpec]


def outputs_of_step(signature: Signature, sources: Specs) -> Specs:
    """Return the specs of a step's outputs as the pipeline sees them; `sources` feed its inputs."""
    fed = {name: sources[name].scope for name in signature.inputs}
    if set(fed.values()) == {Scope.CALL}:
        # A label table that is fed with class names: no row goes into it, so none comes out.
        return {name: _without_rows(spec, Scope.CALL) for name, spec in signature.outputs.items()}
    rows = _scope_of_rows(signature, fed)
    is_constant = all(
        fed[name] is Scope.CALL
        for name, spec in signature.inputs.items()
        if spec.scope is not Scope.ROW
    )
    scopes = {Scope.ROW: rows, Scope.CALL: Scope.CALL if is_constant else Scope.BATCH}
    return {
        name: _without_rows(spec, scopes.get(spec.scope, spec.scope))
        for name, spec in signature.outputs.items()
    }


def may_be_shared(signature: Signature, sources: Specs) -> bool:
    """Return whether several records may go through a step in one call.

    Not where something for the call is fed with rows, or with what is computed from them: then one
    record's rows would go into another one's answer.
    """
    if signature.is_called_alone:
        return False
    fed = {name: sources[name].scope for name in signature.inputs}
    if set(fed.values()) == {Scope.CALL}:
        return True
    with_rows = {fed[n] for n, spec in signature.inputs.items() if spec.scope is Scope.ROW}
    others = {fed[n] for n, spec in signature.inputs.items() if spec.scope is Scope.CALL}
    is_untold = any(spec.scope is Scope.UNKNOWN for spec in signature.inputs.values())
    return with_rows == {Scope.ROW} and others <= {Scope.CALL} and not is_untold


def input_of_both(first: TensorSpec, second: TensorSpec) -> TensorSpec:
    """Return the spec of an input that two steps use."""
    return first if first.scope is second.scope else TensorSpec(first.dtype, None, Scope.UNKNOWN)


def in_dtypes_of(declared: Signature | None, inputs: Specs) -> Specs:
    """Return inputs in the dtypes that the pipeline's file declares, which records are read in."""
    if declared is None:
        return inputs
    return {n: replace(spec, dtype=declared.inputs[n].dtype) for n, spec in inputs.items()}


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
        derived,
        inputs=told(declared.inputs, derived.inputs),
        outputs=told(declared.outputs, derived.outputs),
    )


def _scope_of_rows(signature: Signature, fed: Mapping[str, Scope]) -> Scope:
    """Return what the rows of a step are to the pipeline.

    All inputs with rows have the same number of them: one that has the pipeline's rows is enough.
    """
    scopes = {fed[name] for name, spec in signature.inputs.items() if spec.scope is Scope.ROW}
    if Scope.ROW in scopes:
        return Scope.ROW
    return Scope.UNKNOWN if Scope.UNKNOWN in scopes or not scopes else Scope.BATCH


def _without_rows(spec: TensorSpec, scope: Scope) -> TensorSpec:
    """Return the spec in another scope: what has rows no more has them as a dimension."""
    if spec.scope is not Scope.ROW or scope is Scope.ROW:
        return replace(spec, scope=scope)
    return TensorSpec(spec.dtype, None if spec.shape is None else (None, *spec.shape), scope)
