"""What a record costs between the client that reads it and the client that writes its result.

    python -m benchmarks.stages [--only TEXT] [--rounds 5] [--write-docs]

Prints the CPU microseconds that one record of each kind takes to decode, to become a part of its
batch's columns, and to be encoded as a result. The least of the rounds, each of a whole batch.
"""

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.options import only
from benchmarks.rig import Measurement
from tests.support.stages.records import PARTITION, ROUTE, a_kafka_record
from topicserve.servables.kinds.servable import Signature, TensorSpec
from topicserve.wire.header_names import JSON_CONTENT_TYPE, PROTOBUF_CONTENT_TYPE
from topicserve.wire.input_record import InputReader, InputRecord, decode_input
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.protobuf_codec import encode_predict_request
from topicserve.wire.result import Metadata, MetadataStatus
from topicserve.wire.result_encoder import Origin, encode_results
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.calls.feeds import Feed, build_feeds
from topicserve.worker.stages.request import Request

_COLUMNS = ("record", "bytes", "decode us", "columns us", "encode us", "sum us", "sum us a row")
_ROWS_OF_A_BATCH, _CLASSES = 1024, 10
_METADATA = Metadata(MetadataStatus.FOUND, b'{"row":1,"source":"benchmark"}')

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Kind:
    """How a record's body is written, and how many rows of which shape it has."""

    body: Callable[[Array], bytes]
    rows: int
    shape: tuple[int, ...]
    content_type: str = JSON_CONTENT_TYPE


def _json(value: Any) -> bytes:
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def _protobuf(rows: Array) -> bytes:
    return encode_predict_request({"x": rows.astype(np.float32)}, servable_name="network")


def _kinds(floats: int, image: tuple[int, ...]) -> Mapping[str, Kind]:
    return {
        f"JSON, one row of {floats}": Kind(lambda x: _json({"instance": x[0]}), 1, (floats,)),
        f"protobuf, one row of {floats}": Kind(_protobuf, 1, (floats,), PROTOBUF_CONTENT_TYPE),
        f"protobuf, 32 rows of {floats}": Kind(_protobuf, 32, (floats,), PROTOBUF_CONTENT_TYPE),
        f"instances, 32 rows of {floats}": Kind(lambda x: _json({"instances": x}), 32, (floats,)),
        f"instances, 32 objects of {floats}": Kind(
            lambda x: _json({"instances": [{"x": row} for row in x]}), 32, (floats,)
        ),
        f"inputs, 32 rows of {floats}": Kind(lambda x: _json({"inputs": x}), 32, (floats,)),
        f"inputs, by name, 32 rows of {floats}": Kind(
            lambda x: _json({"inputs": {"x": x}}), 32, (floats,)
        ),
        f"instances, one image of {floats}": Kind(lambda x: _json({"instances": x}), 1, image),
        f"instances, 32 images of {floats}": Kind(lambda x: _json({"instances": x}), 32, image),
    }


KINDS = {**_kinds(64, (8, 8, 1)), **_kinds(784, (28, 28, 1))}


def measure(name: str, kind: Kind, rounds: int) -> list[str]:
    """Return the row of one kind."""
    signature = Signature(
        {"x": TensorSpec(np.dtype(np.float32), kind.shape)},
        {"y": TensorSpec(np.dtype(np.float32), (_CLASSES,))},
    )
    records = _records(kind)
    reader = InputReader()
    for record in records[:2]:  # what a client repeats is remembered
        decode_input(record, reader)
    decoding, inputs = _least(lambda: [decode_input(one, reader) for one in records], rounds)
    requests = [_request(*both) for both in zip(records, inputs, strict=True)]
    building, (feeds, rejections) = _least(lambda: build_feeds(requests, signature), rounds)
    if rejections or len(feeds) != 1:
        raise AssertionError(f"{name}: {len(feeds)} feeds, {rejections[:1]}")
    encoding, _ = _least(lambda: _results(inputs, feeds[0]), rounds)
    parts = [seconds / len(records) * 1e6 for seconds in (decoding, building, encoding)]
    return [
        *(name, f"{len(records[0].value or b''):,}"),
        *[f"{part:.1f}" for part in (*parts, sum(parts), sum(parts) / kind.rows)],
    ]


def _records(kind: Kind) -> list[KafkaRecord]:
    rng = np.random.default_rng(0)
    content_type = [("content-type", kind.content_type.encode())]
    count = _ROWS_OF_A_BATCH // kind.rows
    rows = np.round(rng.standard_normal((count, kind.rows, *kind.shape)), 6)
    return [
        a_kafka_record(number, value=kind.body(own), headers=content_type)
        for number, own in enumerate(rows)
    ]


def _request(record: KafkaRecord, found: InputRecord) -> Request:
    return Request(record, PartitionAssignment(PARTITION), 1, 0.0, found, ROUTE)


def _results(inputs: list[InputRecord], feed: Feed) -> object:
    outputs = {"y": np.random.default_rng(0).random((feed.rows, _CLASSES)).astype(np.float32)}
    origin = Origin("network", 1, "serving_default", "worker")
    keys, metadata = [b"key"] * len(inputs), [_METADATA] * len(inputs)
    return encode_results("out", origin, inputs, keys, outputs, metadata, feed.counts)


def _least(action: Callable[[], Any], rounds: int) -> tuple[float, Any]:
    seconds = []
    for _ in range(rounds):
        started = time.process_time()
        found = action()
        seconds.append(time.process_time() - started)
    return min(seconds), found


def _rows(options: Namespace) -> list[list[str]]:
    kinds = only(options.only, KINDS)
    return [measure(name, kind, options.rounds) for name, kind in kinds.items()]


MEASUREMENT = Measurement("stages", __doc__, _COLUMNS, _rows, {"rounds": (5, "")})


if __name__ == "__main__":
    sys.exit(MEASUREMENT.main())
