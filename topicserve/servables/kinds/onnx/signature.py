"""The signature of an ONNX model: which of its inputs and outputs have rows.

It is told from the declared shapes as for SavedModels (kinds/signature_def.py), and by the names
that ONNX has for unknown dimensions beside:

- inputs whose first dimensions have different names, such as `texts` and `images`, have different
  numbers of rows: there is no batch dimension;
- an output whose first dimension has another name than the inputs', such as `detections`, may have
  rows of its own: it cannot be told before the call.

Names that exporters make up say nothing.
"""

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from topicserve.servables.core.errors import UnimplementedError
from topicserve.servables.kinds.servable import Scope, Signature, TensorSpec
from topicserve.servables.kinds.signature_def import (
    DeclaredTensor,
    read_signature,
    rows_of_a_call,
    signature_def_of,
    why_alone,
)

_DTYPES: Mapping[str, np.dtype[Any]] = {
    "float16": np.dtype(np.float16),
    "float": np.dtype(np.float32),
    "double": np.dtype(np.float64),
    "string": np.dtype(object),
    "bool": np.dtype(bool),
    **{
        name: np.dtype(name)
        for name in ("int8", "int16", "int32", "int64", "uint8", "uint16", "uint32", "uint64")
    },
}
_TENSOR = re.compile(r"tensor\((\w+)\)")

# tf2onnx: unk__7; PyTorch's exporter of TorchScript: Gemmoutput_dim_0; others: None, ?, -1.
_MADE_UP = re.compile(r"unk__\d+|.*_dim_\d+|DynamicDimension\.\d+|None|\?|-1|")


class Value(NamedTuple):
    """An input or output of a model."""

    name: str
    type: str
    """As ONNX Runtime writes it: tensor(float)."""
    shape: Sequence[int | str | None] | None
    """Sizes, and names of unknown sizes; None where the rank is unknown."""

    @property
    def rows_name(self) -> str | None:
        """Return the name of the first dimension, where it has one that says something."""
        first = self.shape[0] if self.shape else None
        named = isinstance(first, str) and not _MADE_UP.fullmatch(first)
        return str(first) if named else None


class OnnxSignature(NamedTuple):
    """What the model takes and gives."""

    signature: Signature
    rows_of_a_call: int | None
    """How many rows every call must have, None where any number will do."""
    left_out: Sequence[str]
    """Outputs that are no tensors of a dtype that numpy has, each with its type."""
    reason_alone: str | None
    """Why each record has a call of its own; None where records share calls."""


def read_onnx_signature(
    inputs: Sequence[Value], outputs: Sequence[Value], batch_records: bool | None
) -> OnnxSignature:
    """Return the signature; UnimplementedError names an input that no column can be.

    Outputs that no column can be are left out; at least one must remain.
    """
    for value in inputs:
        if _dtype(value) is None:
            raise UnimplementedError(f"the input {value.name!r} is {value.type}: not supported")
    given = [value for value in outputs if _dtype(value) is not None]
    left_out = [f"{value.name!r} is {value.type}" for value in outputs if value not in given]
    if not given:
        raise UnimplementedError(f"no output is a plain tensor: {', '.join(left_out)}")
    definition = signature_def_of(_declared(inputs), _declared(given))
    names = {value.rows_name for value in inputs} - {None}
    if len(names) > 1 and batch_records is None:
        batch_records = False
    signature = read_signature(definition, batch_records)
    if batch_records is None and names:
        signature = _with_own_rows(signature, given, names)
    reason = why_alone(signature)
    if len(names) > 1 and reason is not None:
        told = " and ".join(sorted(map(repr, map(str, names))))
        reason = f"the first dimensions of its inputs have different names: {told}"
    return OnnxSignature(signature, rows_of_a_call(definition, signature), left_out, reason)


def _dtype(value: Value) -> np.dtype[Any] | None:
    tensor = _TENSOR.fullmatch(value.type)
    return None if tensor is None else _DTYPES.get(tensor[1])


def _declared(values: Sequence[Value]) -> Iterator[DeclaredTensor]:
    for value in values:
        dtype = _dtype(value)
        assert dtype is not None  # the caller has looked
        yield DeclaredTensor(value.name, dtype, _sizes(value.shape))


def _sizes(shape: Sequence[int | str | None] | None) -> list[int | None] | None:
    if shape is None:
        return None
    return [size if isinstance(size, int) and size > 0 else None for size in shape]


def _with_own_rows(
    signature: Signature, outputs: Sequence[Value], names: Collection[str | None]
) -> Signature:
    own = {value.name for value in outputs if value.rows_name not in (None, *names)}
    specs = {
        name: _untold(spec) if name in own and spec.scope is Scope.ROW else spec
        for name, spec in signature.outputs.items()
    }
    return replace(signature, outputs=specs)


def _untold(spec: TensorSpec) -> TensorSpec:
    shape = None if spec.shape is None else (None, *spec.shape)
    return TensorSpec(spec.dtype, shape, Scope.UNKNOWN)
