"""The protocol's protobuf messages: a ModelInferRequest, answered with a ModelInferResponse."""

from collections.abc import Mapping
from typing import Any

from google.protobuf.message import DecodeError
from numpy.typing import NDArray

from topicserve.protos.infer_tensors import (
    RAW_ONLY,
    datatype_of,
    read_infer_tensors,
    set_contents,
    to_raw_contents,
)
from topicserve.protos.open_inference_pb2 import ModelInferRequest, ModelInferResponse
from topicserve.protos.tensors import TensorProtoError
from topicserve.wire import header_names as names
from topicserve.wire.bodies.asked import Asked
from topicserve.wire.bodies.custom import custom_body
from topicserve.wire.bodies.interface import BodyAnswer, BodyContent
from topicserve.wire.bodies.open_inference.asking import asked, check_count
from topicserve.wire.bodies.options import need_no_options
from topicserve.wire.bodies.registry import CodecOf
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.limits import shortened


class OpenInferenceProtobufBody:
    """Reads tensors with raw and with typed contents, and answers with the same."""

    content_types = (names.OPEN_INFERENCE_PROTOBUF,)

    def asks(self, value: bytes, _: Mapping[str, str]) -> Asked:
        """Return the model and the version, the outputs that are wanted, and the request's id."""
        request = _parsed(value)
        check_count("inputs", len(request.inputs))
        check_count("outputs", len(request.outputs))
        return asked(
            len(value),
            [(one.datatype, one.shape) for one in request.inputs],
            [one.name for one in request.outputs],
            request.id,
            request.model_name,
            request.model_version,
        )

    def read(self, value: bytes, _: Mapping[str, str]) -> BodyContent:
        """Return the inputs."""
        request = _parsed(value)
        return BodyContent(tensors=_arrays(request.inputs, request.raw_input_contents, "inputs"))

    def write(self, answer: BodyAnswer) -> bytes:
        """Return the outputs, raw unless the request had typed contents."""
        request = _parsed(answer.request)
        response = ModelInferResponse(
            model_name=answer.servable,
            model_version=str(answer.version),
            id=request.id or answer.record_id,
        )
        for name, column in answer.outputs.items():
            response.outputs.add(name=name, datatype=datatype_of(column.dtype), shape=column.shape)
        is_typed = any(one.HasField("contents") for one in request.inputs)
        # All of them, as contents of both kinds exclude one another.
        if is_typed and not any(one.datatype in RAW_ONLY for one in response.outputs):
            for tensor in response.outputs:
                set_contents(tensor, answer.outputs[tensor.name])
        else:
            response.raw_output_contents.extend(map(to_raw_contents, answer.outputs.values()))
        return response.SerializeToString()


def read_response(value: bytes) -> dict[str, NDArray[Any]]:
    """Return the outputs of a ModelInferResponse, or raise InvalidRecordError."""
    response = ModelInferResponse()
    try:
        response.ParseFromString(value)
    except DecodeError as error:
        raise InvalidRecordError("value", f"is not a ModelInferResponse: {error}") from None
    return _arrays(response.outputs, response.raw_output_contents, "outputs")


def make_body(options: Mapping[str, object]) -> CodecOf:
    """Return what reads ModelInferRequests; there are no options."""
    need_no_options(options, "open_inference_protobuf")
    return custom_body("open_inference_protobuf", OpenInferenceProtobufBody())[1]


def _parsed(value: bytes) -> ModelInferRequest:
    request = ModelInferRequest()
    try:
        request.ParseFromString(value)
    except DecodeError as error:
        raise InvalidRecordError("value", f"is not a ModelInferRequest: {error}") from None
    return request


def _arrays(tensors: Any, raw: Any, field: str) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    try:
        for name, found in read_infer_tensors(tensors, raw):
            where = f"{field}.{shortened(name)}"
            if isinstance(found, TensorProtoError):
                raise InvalidRecordError(where, str(found))
            if name in arrays:
                raise InvalidRecordError(where, "is given twice")
            arrays[name] = found
    except TensorProtoError as error:
        raise InvalidRecordError(field, str(error)) from None
    return arrays
