"""A TF Serving in this process: the published protos and gRPC service, a model in numpy."""

import threading
from collections.abc import Iterator, Sequence
from concurrent import futures
from contextlib import contextmanager
from typing import Any

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.protobuf import meta_graph_pb2
from tensorflow_serving.apis import (
    get_model_metadata_pb2,
    predict_pb2,
    prediction_service_pb2_grpc,
)


def tensor_info(dtype: Any, shape: Sequence[int | None]) -> Any:
    """Return the TensorInfo of a tensor."""
    return meta_graph_pb2.TensorInfo(
        name="t:0", dtype=dtype.as_datatype_enum, tensor_shape=tf.TensorShape(shape).as_proto()
    )


class HalfPlusTwo(prediction_service_pb2_grpc.PredictionServiceServicer):  # type: ignore[misc]
    """Serves y = x / 2 + 2 as `serving_default`, and strings as they come as `echo`.

    `failures` are the status codes that the next calls end in. While `may_answer` is cleared, calls
    are not answered. Of the rows only `answered_rows` come back.
    """

    def __init__(self) -> None:
        self.requests: list[Any] = []
        self.failures: list[grpc.StatusCode] = []
        self.calls = 0
        self.answered_rows = slice(None)
        self.may_answer = threading.Event()
        self.may_answer.set()
        self.signatures = {
            "serving_default": meta_graph_pb2.SignatureDef(
                inputs={"x": tensor_info(tf.float32, [None, 2])},
                outputs={"y": tensor_info(tf.float32, [None, 2])},
                method_name="tensorflow/serving/predict",
            ),
            "echo": meta_graph_pb2.SignatureDef(
                inputs={"text": tensor_info(tf.string, [None])},
                outputs={"text": tensor_info(tf.string, [None])},
                method_name="tensorflow/serving/predict",
            ),
            "classify": meta_graph_pb2.SignatureDef(
                inputs={"examples": tensor_info(tf.string, [None])},
                outputs={"classes": tensor_info(tf.string, [None, 1])},
                method_name="tensorflow/serving/classify",
            ),
            "scaled": meta_graph_pb2.SignatureDef(
                inputs={
                    "x": tensor_info(tf.float32, [None, 2]),
                    "scale": tensor_info(tf.float32, [None]),
                },
                outputs={"y": tensor_info(tf.float32, [None, 2])},
                method_name="tensorflow/serving/predict",
                defaults={"scale": tf.make_tensor_proto([2.0])},
            ),
            "sparse": meta_graph_pb2.SignatureDef(
                inputs={"x": meta_graph_pb2.TensorInfo(coo_sparse={"values_tensor_name": "v"})}
            ),
        }

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        self._end_as_told(context)
        response = get_model_metadata_pb2.GetModelMetadataResponse(model_spec=request.model_spec)
        response.metadata["signature_def"].Pack(
            get_model_metadata_pb2.SignatureDefMap(signature_def=self.signatures)
        )
        return response

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802 - gRPC's name
        self._end_as_told(context)
        self.requests.append(request)
        response = predict_pb2.PredictResponse(model_spec=request.model_spec)
        if request.model_spec.signature_name == "echo":
            response.outputs["text"].CopyFrom(request.inputs["text"])
        else:
            y = tf.make_ndarray(request.inputs["x"]) / 2 + 2
            response.outputs["y"].CopyFrom(
                tf.make_tensor_proto(y[self.answered_rows].astype(np.float32))
            )
        return response

    def _end_as_told(self, context: Any) -> None:
        self.calls += 1
        self.may_answer.wait(timeout=60)
        if self.failures:
            context.abort(self.failures.pop(0), "as told\nand more")


@contextmanager
def serving(servicer: HalfPlusTwo, credentials: Any = None) -> Iterator[str]:
    """Yield the address where the model is served."""
    server = grpc.server(futures.ThreadPoolExecutor(4))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(servicer, server)
    if credentials is None:
        port = server.add_insecure_port("127.0.0.1:0")
    else:
        port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        servicer.may_answer.set()
        server.stop(grace=None).wait(timeout=30)
