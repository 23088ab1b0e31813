"""What a SavedModel's signatures take and give, in the core's words."""

from collections.abc import Mapping
from typing import Any

from numpy.typing import NDArray

from topicserve.protos.tensors import TensorProtoError, from_tensor_proto, to_dtype
from topicserve.servables.errors import UnimplementedError
from topicserve.servables.servable import Signature, TensorSpec

CLASSIFY = "tensorflow/serving/classify"
REGRESS = "tensorflow/serving/regress"

_FIRST_REF = 101  # the dtypes of TF 1's variables: the same ones, 100 later


def read_signature(signature_def: Any) -> Signature:
    """Return a SignatureDef's signature, or UnimplementedError where it is not about tensors."""
    return Signature(
        inputs=_specs(signature_def.inputs),
        outputs=_specs(signature_def.outputs),
        method_name=signature_def.method_name,
        defaults=_defaults(signature_def),
    )


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
    if info.WhichOneof("encoding") != "name":
        raise UnimplementedError(f"{name!r} is sparse or composite, not a plain tensor")
    try:
        dtype = to_dtype(info.dtype - 100 if info.dtype >= _FIRST_REF else info.dtype)
    except TensorProtoError as error:
        raise UnimplementedError(f"{name!r}: {error}") from None
    return TensorSpec(dtype, _row_shape(info.tensor_shape))


def _row_shape(shape: Any) -> tuple[int | None, ...] | None:
    """Return the shape without its first dimension, the batch."""
    if shape.unknown_rank:
        return None
    return tuple(None if dim.size < 0 else dim.size for dim in shape.dim[1:])


def takes_examples(signature: Signature) -> bool:
    """Return whether TF Serving would feed this signature with tf.Examples."""
    return (
        signature.method_name in (CLASSIFY, REGRESS)
        and len(signature.inputs) == 1
        and all(spec.dtype.hasobject for spec in signature.inputs.values())
    )


def declared_rows(infos: Mapping[str, Any]) -> int | None:
    """Return the number of rows that the tensors are declared to have, None where any will do."""
    sizes = {info.tensor_shape.dim[0].size for info in infos.values() if info.tensor_shape.dim}
    known = {size for size in sizes if size > 0}
    return known.pop() if len(known) == 1 else None


def is_scalar(info: Any) -> bool:
    """Return whether the tensor has no batch dimension, nor any other."""
    return not info.tensor_shape.unknown_rank and not info.tensor_shape.dim
