"""Runs a version's recorded requests before it serves (TF Serving: saved_model_warmup.cc).

The first calls of a signature are slow, so a version may bring requests in the file
`assets.extra/tf_serving_warmup_requests`: a TFRecord of PredictionLog, as TF Serving logs them.
"""

from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from topicserve.protos.predict_pb2 import ModelSpec, PredictRequest
from topicserve.protos.prediction_log_pb2 import Input, PredictionLog
from topicserve.protos.tensors import TensorProtoError, from_tensor_proto
from topicserve.servables.core.errors import InvalidArgumentError, ServableError, UnimplementedError
from topicserve.servables.kinds.saved_model.signature_call import TensorCall
from topicserve.servables.kinds.saved_model.tf_record import read_tf_records
from topicserve.servables.kinds.servable import Columns

WARM_UP_FILE = Path("assets.extra", "tf_serving_warmup_requests")
MAX_WARM_UP_RECORDS = 1000

# A signature's name, and what to feed it with.
Run = tuple[str, Columns]


def warm_up(path: str, calls: Mapping[str, TensorCall], iterations: int) -> None:
    """Run every request in the version's warm-up file; a version without one is as warm as it gets.

    Whatever fails fails the load: InvalidArgumentError for a record that is no PredictionLog, for
    more than 1000 of them, or for what the model refuses; DataLossError for a damaged file;
    UnimplementedError for session runs and streamed predictions. Each names file and record.
    """
    file = Path(path) / WARM_UP_FILE
    if not file.is_file():
        return
    records = read_tf_records(file)
    for number, record in enumerate(islice(records, MAX_WARM_UP_RECORDS)):
        try:
            _replay(record, calls, iterations)
        except ServableError as error:
            raise type(error)(f"{file}: record {number}: {error}") from error
    if next(records, None) is not None:
        raise InvalidArgumentError(f"{file}: must hold at most {MAX_WARM_UP_RECORDS} records")


def _replay(record: bytes, calls: Mapping[str, TensorCall], iterations: int) -> None:
    try:
        runs = list(_runs(PredictionLog.FromString(record), calls))
    except DecodeError as error:
        raise InvalidArgumentError(f"it is no PredictionLog: {error}") from None
    except TensorProtoError as error:
        raise InvalidArgumentError(str(error)) from None
    for _ in range(iterations):
        for signature_name, feeds in runs:
            calls[signature_name].run(feeds)


def _runs(log: PredictionLog, calls: Mapping[str, TensorCall]) -> Iterator[Run]:
    kind = log.WhichOneof("log_type")
    if kind == "predict_log":
        request = log.predict_log.request
        yield _signature(request.model_spec, calls), _tensors(request)
    elif kind in ("classify_log", "regress_log"):
        logged: Any = getattr(log, kind).request
        yield _example_run(logged.model_spec, logged.input, calls)
    elif kind == "multi_inference_log":
        inference = log.multi_inference_log.request
        for task in inference.tasks:
            yield _example_run(task.model_spec, inference.input, calls)
    else:
        raise UnimplementedError(f"warm-up by {kind or 'an empty log'} is not supported")


def _signature(spec: ModelSpec, calls: Mapping[str, TensorCall]) -> str:
    name = spec.signature_name or "serving_default"
    if name not in calls:
        raise InvalidArgumentError(f"there is no signature {name!r}; known: {', '.join(calls)}")
    return name


def _tensors(request: PredictRequest) -> Columns:
    return {name: from_tensor_proto(tensor) for name, tensor in request.inputs.items()}


def _example_run(spec: ModelSpec, examples: Input, calls: Mapping[str, TensorCall]) -> Run:
    name = _signature(spec, calls)
    inputs = list(calls[name].signature.inputs)
    if len(inputs) != 1:
        raise InvalidArgumentError(f"the signature {name!r} takes more than examples")
    return name, {inputs[0]: np.fromiter(_serialized(examples), object)}


def _serialized(examples: Input) -> list[bytes]:
    if examples.WhichOneof("kind") == "example_list":
        return [example.SerializeToString() for example in examples.example_list.examples]
    with_context = examples.example_list_with_context
    # Two messages one after the other are their merge: a feature of the example's own wins.
    context = with_context.context.SerializeToString()
    return [context + example.SerializeToString() for example in with_context.examples]
