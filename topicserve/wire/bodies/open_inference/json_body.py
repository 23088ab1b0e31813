"""The protocol's JSON: an inference request, answered with an inference response."""

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec
import orjson
from msgspec import Raw
from numpy.typing import NDArray

from topicserve.protos.infer_tensors import datatype_of
from topicserve.protos.tensors import TensorProtoError
from topicserve.wire import header_names as names
from topicserve.wire.bodies.asked import Asked
from topicserve.wire.bodies.custom import custom_body
from topicserve.wire.bodies.interface import BodyAnswer, BodyContent
from topicserve.wire.bodies.open_inference.asking import asked, check_count
from topicserve.wire.bodies.open_inference.json_data import BASE64, read_data, write_data
from topicserve.wire.bodies.options import need_no_options
from topicserve.wire.bodies.registry import CodecOf
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.limits import shortened

T = TypeVar("T")
_PROTOBUF = names.OPEN_INFERENCE_PROTOBUF


class _Parameters(msgspec.Struct, gc=False):
    content_type: str | None = None
    binary_data_size: int | None = None


class _Tensor(msgspec.Struct):
    name: str
    datatype: str
    shape: list[int]
    data: Raw = Raw()
    parameters: _Parameters | None = None


class _Output(msgspec.Struct):
    name: str


class _Request(msgspec.Struct):
    inputs: list[_Tensor]
    id: str | None = None
    outputs: list[_Output] | None = None


class _RequestId(msgspec.Struct):
    id: str | None = None


class _Response(msgspec.Struct):
    outputs: list[_Tensor]


_request = msgspec.json.Decoder(_Request)
_request_id = msgspec.json.Decoder(_RequestId)
_response = msgspec.json.Decoder(_Response)


class OpenInferenceJsonBody:
    """Reads tensors whose data is in the JSON: the extension for binary data has none there."""

    content_types = (names.OPEN_INFERENCE_JSON,)

    def asks(self, value: bytes, _: Mapping[str, str]) -> Asked:
        """Return the outputs that are wanted, and the request's id."""
        request = _decoded(_request, value)
        wanted = request.outputs or []
        check_count("inputs", len(request.inputs))
        check_count("outputs", len(wanted))
        tensors = [(one.datatype, one.shape) for one in request.inputs]
        return asked(len(value), tensors, [one.name for one in wanted], request.id)

    def read(self, value: bytes, _: Mapping[str, str]) -> BodyContent:
        """Return the inputs."""
        return BodyContent(tensors=_arrays(_decoded(_request, value).inputs, "inputs"))

    def write(self, answer: BodyAnswer) -> bytes:
        """Return the outputs, their data as flat lists."""
        head = {
            "model_name": answer.servable,
            "model_version": str(answer.version),
            "id": _decoded(_request_id, answer.request).id or answer.record_id,
        }
        outputs = (_written(name, column) for name, column in answer.outputs.items())
        return b'%b,"outputs":[%b]}' % (orjson.dumps(head)[:-1], b",".join(outputs))


def read_response(value: bytes) -> dict[str, NDArray[Any]]:
    """Return the outputs of an inference response, or raise InvalidRecordError."""
    return _arrays(_decoded(_response, value).outputs, "outputs", null_is_nan=True)


def make_body(options: Mapping[str, object]) -> CodecOf:
    """Return what reads inference requests; there are no options."""
    need_no_options(options, "open_inference_json")
    return custom_body("open_inference_json", OpenInferenceJsonBody())[1]


def _decoded(decoder: msgspec.json.Decoder[T], value: bytes) -> T:
    try:
        return decoder.decode(value)
    except RecursionError:
        raise InvalidRecordError("value", "is nested too deeply") from None
    except msgspec.ValidationError as error:
        text = str(error).replace("Object missing", "is missing the").replace(" - at `$.", ": `")
        raise InvalidRecordError("value", text) from None
    except ValueError as error:  # msgspec.DecodeError is one
        raise InvalidRecordError("value", f"is not JSON: {error}") from None


def _arrays(
    tensors: list[_Tensor], field: str, *, null_is_nan: bool = False
) -> dict[str, NDArray[Any]]:
    arrays: dict[str, NDArray[Any]] = {}
    for tensor in tensors:
        where = f"{field}.{shortened(tensor.name)}"
        if tensor.name in arrays:
            raise InvalidRecordError(where, "is given twice")
        arrays[tensor.name] = _array(tensor, where, null_is_nan=null_is_nan)
    return arrays


def _array(tensor: _Tensor, where: str, *, null_is_nan: bool) -> NDArray[Any]:
    parameters = tensor.parameters or _Parameters()
    if parameters.binary_data_size is not None:
        raise InvalidRecordError(where, f"has binary data, which must be {_PROTOBUF}")
    if not bytes(tensor.data):
        raise InvalidRecordError(where, "has no data")
    try:
        return read_data(
            bytes(tensor.data),
            tensor.datatype,
            tensor.shape,
            is_base64=parameters.content_type == BASE64,
            null_is_nan=null_is_nan,
        )
    except TensorProtoError as error:
        raise InvalidRecordError(where, str(error)) from None


def _written(name: str, column: NDArray[Any]) -> bytes:
    data, is_base64 = write_data(name, column)
    head: dict[str, Any] = {
        "name": name,
        "datatype": datatype_of(column.dtype),
        "shape": column.shape,
    }
    if is_base64:
        head["parameters"] = {"content_type": BASE64}
    return b'%b,"data":%b}' % (orjson.dumps(head)[:-1], data)
