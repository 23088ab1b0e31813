"""A server of the Open Inference Protocol in this process: published messages, a model in numpy."""

import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np

from tests.support.open_inference.published import METHODS, SERVICE, pb

NUMPY = {
    "BOOL": "?",
    "FP16": "<f2",
    "FP32": "<f4",
    "FP64": "<f8",
    **{f"INT{bits}": f"<i{bits // 8}" for bits in (8, 16, 32, 64)},
    **{f"UINT{bits}": f"<u{bits // 8}" for bits in (8, 16, 32, 64)},
    # Not interpreted here: its bits go back as they came.
    "BF16": "<u2",
}
TYPED = {
    "BOOL": "bool_contents",
    "BYTES": "bytes_contents",
    "FP32": "fp32_contents",
    "FP64": "fp64_contents",
    **dict.fromkeys(("INT8", "INT16", "INT32"), "int_contents"),
    **dict.fromkeys(("UINT8", "UINT16", "UINT32"), "uint_contents"),
    "INT64": "int64_contents",
    "UINT64": "uint64_contents",
}
Tensor = tuple[str, str, Sequence[int]]
"""Name, datatype, shape."""


class InferenceServer:
    """Serves y = x / 2 + 2, and every other input unchanged, under its name.

    `failures` are the status codes, with their texts, that the next inferences end in. While
    `may_answer` is cleared, inferences are not answered. `refuses` is asked which inputs are, with
    the status `refusal`, and `change` may alter an answer.
    """

    def __init__(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor]) -> None:
        self.inputs, self.outputs = inputs, outputs
        self._datatypes = {name: datatype for name, datatype, _ in (*inputs, *outputs)}
        self.requests: list[Any] = []
        self.refuses: Callable[[dict[str, Any]], bool] = lambda _: False
        self.refusal = grpc.StatusCode.INVALID_ARGUMENT
        self.change: Callable[[Any], object] = lambda _: None
        self.failures: list[tuple[grpc.StatusCode, str]] = []
        self.unimplemented: set[str] = set()
        self.calls = 0
        self.was_called = threading.Event()
        self.asked: list[Any] = []
        self._asked_more = threading.Condition()
        self.is_server_ready = self.is_model_ready = self.answers_raw = True
        self.may_answer = threading.Event()
        self.may_answer.set()

    def until_asked(self, times: int) -> None:
        """Return when ModelReady and ModelMetadata were asked so many times more."""
        with self._asked_more:
            count = len(self.asked) + times
            assert self._asked_more.wait_for(lambda: len(self.asked) >= count, timeout=120)

    def _note(self, request: Any) -> None:
        with self._asked_more:
            self.asked.append(request)
            self._asked_more.notify_all()

    def ServerReady(self, _: Any, __: Any) -> Any:  # noqa: N802 - gRPC's name
        return pb.ServerReadyResponse(ready=self.is_server_ready)

    def ModelReady(self, request: Any, _: Any) -> Any:  # noqa: N802 - gRPC's name
        self._note(request)
        return pb.ModelReadyResponse(ready=self.is_model_ready)

    def ModelMetadata(self, request: Any, _: Any) -> Any:  # noqa: N802 - gRPC's name
        self._note(request)
        response = pb.ModelMetadataResponse(name=request.name, platform="numpy")
        for tensors, declared in ((response.inputs, self.inputs), (response.outputs, self.outputs)):
            for name, datatype, shape in declared:
                tensors.add(name=name, datatype=datatype, shape=shape)
        return response

    def ModelInfer(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        self.calls += 1
        self.was_called.set()
        self.may_answer.wait(timeout=60)
        if self.failures:
            context.abort(*self.failures.pop(0))
        given = tensors_of(request)
        if self.refuses(given):
            context.abort(self.refusal, "refused")
        self.requests.append(request)
        if "x" in given:
            given["y"] = (given["x"] / 2 + 2).astype(given["x"].dtype)
        response = pb.ModelInferResponse(model_name=request.model_name, model_version="1")
        for name in [one.name for one in request.outputs] or [one[0] for one in self.outputs]:
            datatype = self._datatypes[name]
            tensor = response.outputs.add(name=name, datatype=datatype, shape=given[name].shape)
            if self.answers_raw:
                response.raw_output_contents.append(raw(given[name]))
            else:
                field = getattr(tensor.contents, TYPED[datatype])
                field.extend(given[name].ravel().tolist())
        self.change(response)
        return response


def halving(rows: int = -1, size: int = 2) -> InferenceServer:
    """Return a server of one model: x, FP32 [rows, size], gives y."""
    return InferenceServer([("x", "FP32", (rows, size))], [("y", "FP32", (rows, size))])


def echoing(*tensors: Tensor) -> InferenceServer:
    """Return a server that gives each of these back."""
    return InferenceServer(tensors, tensors)


def tensors_of(request: Any) -> dict[str, Any]:
    """Return the inputs as arrays, whichever way they were sent."""
    found = {}
    for index, tensor in enumerate(request.inputs):
        if request.raw_input_contents:
            values = _from_raw(request.raw_input_contents[index], tensor.datatype)
        else:
            values = list(getattr(tensor.contents, TYPED[tensor.datatype]))
        dtype = NUMPY.get(tensor.datatype, "O")
        found[tensor.name] = np.array(values, dtype).reshape(tuple(tensor.shape))
    return found


def _from_raw(content: bytes, datatype: str) -> Any:
    if datatype != "BYTES":
        return np.frombuffer(content, NUMPY[datatype])
    strings = []
    while content:
        length = int.from_bytes(content[:4], "little")
        strings.append(content[4 : 4 + length])
        content = content[4 + length :]
    return strings


def raw(array: Any) -> bytes:
    """Return an array's elements as raw contents."""
    if array.dtype != object:
        return bytes(array.tobytes())
    return b"".join(len(one).to_bytes(4, "little") + one for one in array.ravel().tolist())


class _Handler(grpc.GenericRpcHandler):  # type: ignore[misc]
    def __init__(self, server: InferenceServer) -> None:
        self._server = server

    def service(self, handler_call_details: Any) -> Any:
        service, _, method = handler_call_details.method[1:].partition("/")
        if service != SERVICE or method not in METHODS or method in self._server.unimplemented:
            return None
        return grpc.unary_unary_rpc_method_handler(
            getattr(self._server, method),
            request_deserializer=getattr(pb, f"{method}Request").FromString,
            response_serializer=getattr(pb, f"{method}Response").SerializeToString,
        )


@contextmanager
def serving(
    served: InferenceServer,
    address: str = "127.0.0.1:0",
    *,
    credentials: Any = None,
    max_message_bytes: int = -1,
) -> Iterator[str]:
    """Yield the address where the model is served: by default a port that is free."""
    settings = [("grpc.max_receive_message_length", max_message_bytes)]
    server = grpc.server(futures.ThreadPoolExecutor(4), [_Handler(served)], options=settings)
    if credentials is None:
        bound = server.add_insecure_port(address)
    else:
        bound = server.add_secure_port(address, credentials)
    server.start()
    try:
        yield address.replace(":0", f":{bound}")
    finally:
        served.may_answer.set()
        server.stop(grace=None).wait(timeout=60)
