"""The signatures of a SavedModel, read from its SignatureDefs.

What has rows is told from the declared shapes:

- the first dimension is unknown: rows;
- no dimension at all: one value for the call;
- a fixed first dimension beside an input with rows: one value for the call, as an image's size is;
- the rank is unknown: it cannot be told;
- no input has an unknown first dimension, or there is no input: there is no batch dimension. An
  exception is the batch of one, [1, ...] for all inputs and outputs, which exporters write for one
  row at a time.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from topicserve.protos.get_model_metadata_pb2 import SignatureDef
from topicserve.protos.tensors import TensorProtoError, from_tensor_proto, to_data_type, to_dtype
from topicserve.servables.core.errors import UnimplementedError
from topicserve.servables.kinds.servable import Scope, Signature, TensorSpec

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

_FIRST_REF = 101  # the dtypes of TF 1's variables: the same ones, 100 later

# Beside the sizes of first dimensions.
_UNKNOWN_RANK = -2

Change = Callable[[TensorSpec], TensorSpec]


class DeclaredTensor(NamedTuple):
    """An input or output as a model of another format declares it."""

    name: str
    dtype: np.dtype[Any]
    shape: Sequence[int | None] | None
    """Of the whole tensor: None is an unknown size; the whole is None where the rank is unknown."""


def signature_def_of(
    inputs: Iterable[DeclaredTensor], outputs: Iterable[DeclaredTensor]
) -> SignatureDef:
    """Return a SignatureDef that says the same, for `read_signature` and `rows_of_a_call`."""
    definition = SignatureDef(method_name="tensorflow/serving/predict")
    for infos, tensors in ((definition.inputs, inputs), (definition.outputs, outputs)):
        for name, dtype, shape in tensors:
            info = infos[name]
            info.name = name
            info.dtype = to_data_type(dtype)
            info.tensor_shape.SetInParent()
            if shape is None:
                info.tensor_shape.unknown_rank = True
            for size in shape or ():
                info.tensor_shape.dim.add(size=-1 if size is None else size)
    return definition


def read_signature(signature_def: Any, batch_records: bool | None = None) -> Signature:
    """Return a SignatureDef's signature, or UnimplementedError where it is not about tensors.

    An output for the whole call has Scope.BATCH: only the graph shows whether rows go into it.
    `batch_records` is the option of the kinds: with false no tensor is taken for rows, with true an
    unknown rank is, and outputs for the whole call are taken to be independent of the rows.
    """
    signature = Signature(
        inputs=_specs(signature_def.inputs),
        outputs=_specs(signature_def.outputs),
        method_name=signature_def.method_name,
        defaults=_defaults(signature_def),
    )
    sizes = _first_sizes(signature_def.inputs.values())
    if takes_examples(signature):
        signature = _with_rows_of_examples(signature, sizes[0])
    elif -1 in sizes or (batch_records and _UNKNOWN_RANK in sizes):
        signature = _changed(signature, _input_beside_rows, _output_beside_rows)
    elif _has_batch_of_one(signature_def):
        signature = _changed(signature, _input_of_one_row, _as_rows)
    if batch_records is None or not signature.inputs:
        return signature
    return _trusted(signature) if batch_records else _unbatched(signature)


def rows_of_a_call(signature_def: Any, signature: Signature) -> int | None:
    """Return how many rows every call must have, None where any number will do.

    Only of signatures with rows: a batch of one, and serialized examples of a fixed number.
    """
    if signature.inputs and not any(s.scope is Scope.ROW for s in signature.inputs.values()):
        return None
    sizes = [size for size in _first_sizes(signature_def.inputs.values()) if size is not None]
    return sizes[0] if len(set(sizes)) == 1 and sizes[0] > 0 else None


def why_alone(signature: Signature) -> str | None:
    """Return why each record has a call of its own, for the log; None where records share calls."""
    if signature.joins_records:
        return None
    if not signature.inputs:
        return "it has no inputs"
    for side, specs in (("input", signature.inputs), ("output", signature.outputs)):
        for name, spec in specs.items():
            if spec.scope is Scope.UNKNOWN:
                return f"whether the {side} {name!r} has rows is not declared"
            if spec.scope is Scope.BATCH:
                return f"the {side} {name!r} is for the whole call, and may be computed from rows"
    return "no input has rows"


def takes_examples(signature: Signature) -> bool:
    """Return whether TF Serving would feed this signature with tf.Examples."""
    return (
        signature.method_name in (CLASSIFY, REGRESS)
        and len(signature.inputs) == 1
        and all(spec.dtype.hasobject for spec in signature.inputs.values())
    )


def _has_batch_of_one(signature_def: Any) -> bool:
    """Return whether all tensors are declared with exactly one row; scalar inputs do not count."""
    inputs = _first_sizes(signature_def.inputs.values())
    outputs = _first_sizes(signature_def.outputs.values())
    return 1 in inputs and set(inputs) <= {1, None} and set(outputs) <= {1, -1}


def _defaults(signature_def: Any) -> dict[str, NDArray[Any]]:
    defaults = {}
    for name in sorted(signature_def.defaults):
        try:
            defaults[name] = from_tensor_proto(signature_def.defaults[name])
        except TensorProtoError as error:
            raise UnimplementedError(f"the default of {name!r}: {error}") from None
    return defaults


def _specs(infos: Mapping[str, Any]) -> dict[str, TensorSpec]:
    return {name: _spec(name, infos[name]) for name in sorted(infos)}


def _spec(name: str, info: Any) -> TensorSpec:
    """Return the spec of the whole tensor, before anything is taken for rows."""
    if info.WhichOneof("encoding") != "name":
        raise UnimplementedError(f"{name!r} is sparse or composite, not a plain tensor")
    try:
        dtype = to_dtype(info.dtype - 100 if info.dtype >= _FIRST_REF else info.dtype)
    except TensorProtoError as error:
        raise UnimplementedError(f"{name!r}: {error}") from None
    if info.tensor_shape.unknown_rank:
        return TensorSpec(dtype, None, Scope.UNKNOWN)
    shape = tuple(None if dim.size < 0 else dim.size for dim in info.tensor_shape.dim)
    return TensorSpec(dtype, shape, Scope.UNKNOWN if shape else Scope.CALL)


def _first_sizes(infos: Iterable[Any]) -> list[int | None]:
    """Return the sizes of first dimensions: None of a scalar, -1 and _UNKNOWN_RANK if unknown."""
    return [_first_size(info.tensor_shape) for info in infos]


def _first_size(shape: Any) -> int | None:
    if shape.unknown_rank:
        return _UNKNOWN_RANK
    return max(shape.dim[0].size, -1) if shape.dim else None


def _changed(signature: Signature, inputs: Change, outputs: Change) -> Signature:
    return replace(
        signature,
        inputs={name: inputs(spec) for name, spec in signature.inputs.items()},
        outputs={name: outputs(spec) for name, spec in signature.outputs.items()},
    )


def _input_beside_rows(spec: TensorSpec) -> TensorSpec:
    if not spec.shape:
        return spec
    return _as_rows(spec) if spec.shape[0] is None else replace(spec, scope=Scope.CALL)


def _output_beside_rows(spec: TensorSpec) -> TensorSpec:
    if spec.shape is None:
        return spec
    if spec.shape and spec.shape[0] is None:
        return _as_rows(spec)
    return replace(spec, scope=Scope.BATCH)


def _input_of_one_row(spec: TensorSpec) -> TensorSpec:
    return _as_rows(spec) if spec.shape else spec


def _as_rows(spec: TensorSpec) -> TensorSpec:
    shape = spec.shape[1:] if spec.shape else None
    return TensorSpec(spec.dtype, shape, Scope.ROW)


def _with_rows_of_examples(signature: Signature, rows: int | None) -> Signature:
    """Return the signature with one string a row, and rows where the shape allows them.

    TF Serving feeds a vector of examples, and takes an answer's first dimension for theirs.
    """

    def output(spec: TensorSpec) -> TensorSpec:
        is_of_rows = spec.shape is None or (spec.shape and spec.shape[0] in (None, rows))
        return _as_rows(spec) if is_of_rows else replace(spec, scope=Scope.BATCH)

    return _changed(signature, lambda spec: TensorSpec(spec.dtype, ()), output)


def _trusted(signature: Signature) -> Signature:
    """Return the signature as its owner vouches for it."""

    def known(spec: TensorSpec) -> TensorSpec:
        if spec.scope is Scope.BATCH:
            return replace(spec, scope=Scope.CALL)
        return _as_rows(spec) if spec.shape is None else spec

    return replace(_changed(signature, known, known), rows_are_independent=True)


def _unbatched(signature: Signature) -> Signature:
    """Return the signature with nothing taken for rows; serialized examples remain one a row."""

    def whole(spec: TensorSpec) -> TensorSpec:
        if spec.scope is not Scope.ROW:
            return spec
        shape = None if spec.shape is None else (None, *spec.shape)
        return TensorSpec(spec.dtype, shape, Scope.UNKNOWN)

    return _changed(
        signature,
        (lambda spec: spec) if takes_examples(signature) else whole,
        lambda spec: replace(whole(spec), scope=Scope.UNKNOWN),
    )
