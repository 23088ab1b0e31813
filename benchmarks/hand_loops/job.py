"""The part of the job that is the same with every client: decode, predict, join, encode.

Input: {"id": UUID, "inputs": [{"data": [64 floats]}]}; metadata under "meta:" + id.
Output: {"id", "y": [10 floats], "metadata"}.
"""

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
import redis

COMMIT_INTERVAL_SECONDS = 0.5
BATCH_RECORDS = 1024
MAX_MESSAGE_BYTES = 8 * 1024 * 1024
"""What an echo may send: `benchmarks.large` has records of 1 MiB."""


@dataclass(frozen=True)
class Places:
    """Where a loop reads and writes, from the environment."""

    bootstrap_servers: str
    redis_url: str
    input_topic: str
    output_topic: str
    group_id: str
    model: str
    kind: str

    @classmethod
    def from_environment(cls) -> "Places":
        """Return what BOOT, REDIS, TIN, TOUT, GROUP, MODEL (a directory) and KIND say."""
        e = os.environ
        places = e["BOOT"], e["REDIS"], e["TIN"], e["TOUT"], e["GROUP"], e["MODEL"]
        return cls(*places, e.get("KIND", "saved_model"))


def open_job(places: Places) -> Callable[[Sequence[bytes]], list[bytes]]:
    """Return the function from input bodies to result bodies; the model has run once."""
    predict = _LOADERS[places.kind](places.model)
    store = redis.Redis.from_url(places.redis_url)

    def answer(bodies: Sequence[bytes]) -> list[bytes]:
        requests = [orjson.loads(body) for body in bodies]
        outputs = predict(np.asarray([r["inputs"][0]["data"] for r in requests], np.float32))
        metadata: Any = store.mget(["meta:" + r["id"] for r in requests])
        return [
            orjson.dumps(
                {
                    "id": request["id"],
                    "y": y,
                    "metadata": orjson.Fragment(found) if found else None,
                },
                option=orjson.OPT_SERIALIZE_NUMPY,
            )
            for request, y, found in zip(requests, outputs, metadata, strict=True)
        ]

    return answer


def _load_saved_model(path: str) -> Callable[[Any], Any]:
    predict, _ = load_saved_model(path, threads=1)
    return predict


def load_saved_model(path: str, threads: int) -> tuple[Callable[[Any], Any], int]:
    """Return the model's call, run once, and its input's features; 0 threads: one a core."""
    import tensorflow as tf

    graph = tf.Graph()
    with graph.as_default():
        config = tf.compat.v1.ConfigProto(
            intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads
        )
        session = tf.compat.v1.Session(graph=graph, config=config)
        meta_graph = tf.compat.v1.saved_model.loader.load(session, ["serve"], path)
        signature = meta_graph.signature_def["serving_default"]
        (x_info,), (y_info,) = signature.inputs.values(), signature.outputs.values()
        predict: Callable[[Any], Any] = session.make_callable(y_info.name, [x_info.name])
    features = x_info.tensor_shape.dim[-1].size
    predict(np.zeros([1, features], np.float32))
    return predict, features


def _load_onnx(path: str) -> Callable[[Any], Any]:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(f"{path}/model.onnx", options)
    (x,), (y,) = session.get_inputs(), session.get_outputs()

    def predict(rows: Any) -> Any:
        return session.run([y.name], {x.name: rows})[0]

    predict(np.zeros([1, 64], np.float32))
    return predict


def _no_model(_: str) -> Callable[[Any], Any]:
    return lambda rows: np.zeros([len(rows), 10], np.float32)


_LOADERS = {"saved_model": _load_saved_model, "onnx": _load_onnx, "none": _no_model}
