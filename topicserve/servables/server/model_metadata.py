"""A model's metadata as TF Serving's REST answers it (GetModelMetadataResponse as JSON)."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.json_format import MessageToDict

from topicserve.protos.get_model_metadata_pb2 import SignatureDef, TensorInfo
from topicserve.protos.tensors import to_data_type, to_tensor_proto
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.kinds.servable import Scope, Servable, Signature, TensorSpec


def model_metadata(servable_id: ServableId, servable: Servable) -> dict[str, Any]:
    """Return what a version takes and gives.

    A servable that was loaded from SignatureDefs has them as JSON in `signature_defs`; those of any
    other kind are derived from its signatures, with names in place of a graph's tensors.
    """
    found: Mapping[str, Any] | None = getattr(servable, "signature_defs", None)
    if found is None:
        found = {
            name: signature_def_json(_derived(one)) for name, one in servable.signatures.items()
        }
    return {
        "model_spec": {
            "name": servable_id.name,
            "signature_name": "",
            "version": str(servable_id.version),
        },
        "metadata": {"signature_def": {"signature_def": dict(found)}},
    }


def signature_def_json(signature_def: Any) -> dict[str, Any]:
    """Return a SignatureDef, TensorFlow's own or ours, as TF Serving prints it."""
    content: dict[str, Any] = MessageToDict(
        signature_def,
        preserving_proto_field_name=True,
        always_print_fields_with_no_presence=True,
    )
    return content


def _derived(signature: Signature) -> SignatureDef:
    made = SignatureDef(method_name=signature.method_name)
    for infos, specs in ((made.inputs, signature.inputs), (made.outputs, signature.outputs)):
        for name, spec in specs.items():
            infos[name].CopyFrom(_tensor_info(name, spec))
    for name, default in signature.defaults.items():
        made.defaults[name].CopyFrom(to_tensor_proto(default))
    return made


def _tensor_info(name: str, spec: TensorSpec) -> TensorInfo:
    info = TensorInfo(name=name, dtype=to_data_type(spec.dtype))
    info.tensor_shape.SetInParent()  # a scalar has an empty one
    if spec.shape is None:
        info.tensor_shape.unknown_rank = True
    else:
        rows = (None,) if spec.scope is Scope.ROW else ()
        for size in (*rows, *spec.shape):
            info.tensor_shape.dim.add(size=-1 if size is None else size)
    return info
