"""The Open Inference Protocol as it is published: messages made from its fields, not from ours.

The fields are those of kserve/open-inference-protocol's open_inference_grpc.proto (Apache License
2.0), as `number type name`.
"""

from types import SimpleNamespace
from typing import Any

from google.protobuf import descriptor_pool, message_factory
from google.protobuf.descriptor_pb2 import (
    DescriptorProto,
    FieldDescriptorProto,
    FileDescriptorProto,
)

_PARAMETERS = "map InferParameter parameters"
_TENSOR = ("1 string name", "2 string datatype", "3 repeated int64 shape")
_TENSOR_WITH_CONTENTS = (*_TENSOR, f"4 {_PARAMETERS}", "5 InferTensorContents contents")

MESSAGES: dict[str, tuple[str, ...]] = {
    "ServerReadyRequest": (),
    "ServerReadyResponse": ("1 bool ready",),
    "ModelReadyRequest": ("1 string name", "2 string version"),
    "ModelReadyResponse": ("1 bool ready",),
    "ModelMetadataRequest": ("1 string name", "2 string version"),
    "ModelMetadataResponse": (
        "1 string name",
        "2 repeated string versions",
        "3 string platform",
        "4 repeated ModelMetadataResponse.TensorMetadata inputs",
        "5 repeated ModelMetadataResponse.TensorMetadata outputs",
    ),
    "ModelMetadataResponse.TensorMetadata": _TENSOR,
    "ModelInferRequest": (
        "1 string model_name",
        "2 string model_version",
        "3 string id",
        f"4 {_PARAMETERS}",
        "5 repeated ModelInferRequest.InferInputTensor inputs",
        "6 repeated ModelInferRequest.InferRequestedOutputTensor outputs",
        "7 repeated bytes raw_input_contents",
    ),
    "ModelInferRequest.InferInputTensor": _TENSOR_WITH_CONTENTS,
    "ModelInferRequest.InferRequestedOutputTensor": ("1 string name", f"2 {_PARAMETERS}"),
    "ModelInferResponse": (
        "1 string model_name",
        "2 string model_version",
        "3 string id",
        f"4 {_PARAMETERS}",
        "5 repeated ModelInferResponse.InferOutputTensor outputs",
        "6 repeated bytes raw_output_contents",
    ),
    "ModelInferResponse.InferOutputTensor": _TENSOR_WITH_CONTENTS,
    "InferParameter": (
        "1 oneof bool bool_param",
        "2 oneof int64 int64_param",
        "3 oneof string string_param",
        "4 oneof double double_param",
        "5 oneof uint64 uint64_param",
    ),
    "InferTensorContents": (
        "1 repeated bool bool_contents",
        "2 repeated int32 int_contents",
        "3 repeated int64 int64_contents",
        "4 repeated uint32 uint_contents",
        "5 repeated uint64 uint64_contents",
        "6 repeated float fp32_contents",
        "7 repeated double fp64_contents",
        "8 repeated bytes bytes_contents",
    ),
}
SERVICE = "inference.GRPCInferenceService"
METHODS = ("ServerReady", "ModelReady", "ModelMetadata", "ModelInfer")

_PACKAGE = "topicserve_tests.published"
_TYPES = {
    name: getattr(FieldDescriptorProto, f"TYPE_{name.upper()}")
    for name in ("bool", "int32", "int64", "uint32", "uint64", "float", "double", "string", "bytes")
}


def _field(made: DescriptorProto, message: str, text: str) -> FieldDescriptorProto:
    number, *kinds, kind, name = text.split()
    is_list = "repeated" in kinds or "map" in kinds
    label = FieldDescriptorProto.LABEL_REPEATED if is_list else FieldDescriptorProto.LABEL_OPTIONAL
    field = FieldDescriptorProto(name=name, number=int(number), label=label)
    if "map" in kinds:
        entry = made.nested_type.add(name=f"{name.capitalize()}Entry")
        entry.options.map_entry = True
        entry.field.append(_field(entry, message, "1 string key"))
        entry.field.append(_field(entry, message, f"2 {kind} value"))
        kind = f"{message}.{entry.name}"
    if "oneof" in kinds:
        field.oneof_index = 0
    if kind in _TYPES:
        field.type = _TYPES[kind]
    else:
        field.type, field.type_name = FieldDescriptorProto.TYPE_MESSAGE, f".{_PACKAGE}.{kind}"
    return field


def _file() -> FileDescriptorProto:
    file = FileDescriptorProto(name=f"{_PACKAGE}.proto", package=_PACKAGE, syntax="proto3")
    made: dict[str, DescriptorProto] = {}
    for message, fields in MESSAGES.items():
        outer, _, name = message.rpartition(".")
        made[message] = (made[outer].nested_type if outer else file.message_type).add(name=name)
        if any("oneof" in text.split() for text in fields):
            made[message].oneof_decl.add(name="parameter_choice")
        made[message].field.extend(_field(made[message], message, text) for text in fields)
    return file


def _classes() -> dict[str, Any]:
    pool = descriptor_pool.DescriptorPool()
    pool.Add(_file())
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{name}"))
        for name in MESSAGES
    }


CLASSES = _classes()
pb: Any = SimpleNamespace(**{n: made for n, made in CLASSES.items() if "." not in n})
"""The messages, as a generated module has them."""
