"""Our messages and TF Serving's, published and installed beside them, are the same on the wire."""

from typing import Any

import pytest
from google.protobuf.descriptor import EnumDescriptor, FieldDescriptor
from google.protobuf.message import Message
from tensorflow.core.example import example_pb2 as tf_example_pb2
from tensorflow.core.example import feature_pb2 as tf_feature_pb2
from tensorflow.core.framework import tensor_pb2 as tf_tensor_pb2
from tensorflow.core.framework import tensor_shape_pb2 as tf_shape_pb2
from tensorflow.core.framework import types_pb2 as tf_types_pb2
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    classification_pb2,
    get_model_metadata_pb2,
    inference_pb2,
    input_pb2,
    model_pb2,
    prediction_log_pb2,
    regression_pb2,
)
from tensorflow_serving.apis import predict_pb2 as tf_predict_pb2

from topicserve.protos import example_pb2, predict_pb2, tensor_pb2
from topicserve.protos import get_model_metadata_pb2 as our_metadata_pb2
from topicserve.protos import prediction_log_pb2 as our_log_pb2

THEIRS = (
    tf_tensor_pb2,
    tf_shape_pb2,
    tf_example_pb2,
    tf_feature_pb2,
    model_pb2,
    tf_predict_pb2,
    input_pb2,
    classification_pb2,
    regression_pb2,
    inference_pb2,
    prediction_log_pb2,
    get_model_metadata_pb2,
    meta_graph_pb2,
)
OURS = (tensor_pb2, predict_pb2, example_pb2, our_log_pb2, our_metadata_pb2)


def messages(modules: tuple[Any, ...]) -> dict[str, Any]:
    """Return message descriptors by name, nested ones as Outer.Inner."""
    found = {}

    def add(descriptor: Any, prefix: str) -> None:
        name = prefix + descriptor.name
        found[name] = descriptor
        for nested in descriptor.nested_types:
            add(nested, name + ".")

    for module in modules:
        for descriptor in module.DESCRIPTOR.message_types_by_name.values():
            add(descriptor, "")
    return found


def wire_form(field: FieldDescriptor) -> tuple[Any, ...]:
    """Return everything about a field that decides how its bytes look."""
    inner = field.message_type.name if field.message_type else None
    union = field.containing_oneof.name if field.containing_oneof else None
    return (field.number, field.type, field.is_repeated, field.is_packed, inner, union)


@pytest.mark.parametrize("name", sorted(messages(OURS)))
def test_fields_are_tf_servings(name: str) -> None:
    """Each field of ours has the name, number, type and oneof of the published message's."""
    ours, theirs = messages(OURS)[name], messages(THEIRS)[name]

    fields = {field.name: wire_form(field) for field in ours.fields}

    assert fields == {
        field.name: wire_form(field) for field in theirs.fields if field.name in fields
    }


def test_data_types_are_tensorflows() -> None:
    """Every value of the enum means what TensorFlow means by it."""
    ours: EnumDescriptor = tensor_pb2.DESCRIPTOR.enum_types_by_name["DataType"]

    values = {value.name: value.number for value in ours.values}

    assert values.items() <= dict(tf_types_pb2.DataType.items()).items()


def predict_request(module: Any, tensor: Message) -> Any:
    """Return a request that uses every field of ours."""
    request = module.PredictRequest(output_filter=["scores"])
    request.model_spec.name = "digits"
    request.model_spec.version.value = 7
    request.model_spec.signature_name = "probabilities"
    request.inputs["x"].CopyFrom(tensor)
    return request


def test_request_bytes_are_the_same_both_ways() -> None:
    """A PredictRequest written by either side is read by the other."""
    ours = predict_request(
        predict_pb2, tensor_pb2.TensorProto(dtype=tensor_pb2.DT_FLOAT, float_val=[1.5])
    )
    theirs = predict_request(
        tf_predict_pb2, tf_tensor_pb2.TensorProto(dtype=tf_types_pb2.DT_FLOAT, float_val=[1.5])
    )

    assert predict_pb2.PredictRequest.FromString(theirs.SerializeToString()) == ours
    assert tf_predict_pb2.PredictRequest.FromString(ours.SerializeToString()) == theirs


def test_fields_that_are_not_ours_travel_through() -> None:
    """What a newer TF Serving client says besides is kept when a request is passed on."""
    theirs = tf_predict_pb2.PredictRequest(client_id=b"42")

    passed_on = predict_pb2.PredictRequest.FromString(theirs.SerializeToString())

    assert tf_predict_pb2.PredictRequest.FromString(passed_on.SerializeToString()) == theirs
