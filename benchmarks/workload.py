"""What is drained: records of 64 floats with metadata, in our wire format and the hand loops'."""

import uuid
from dataclasses import dataclass
from enum import Enum

import numpy as np
import orjson
from numpy.typing import NDArray

from tests.support.servables.models import FEATURES, OCTETS
from topicserve.wire import header_names as names
from topicserve.wire.protobuf_codec import encode_predict_request

SERVABLE = "network"
HAND_LOOP_PREFIX = "meta:"
OUR_PREFIX = "topicserve:metadata:"


class Shape(Enum):
    """How a record's body is written."""

    TOPICSERVE = "topicserve"
    """`{"instance": [...]}`, the id in the header ce_id."""
    HAND_LOOP = "hand loop"
    """`{"id": ..., "inputs": [{"data": [...]}]}`, as the strong hand loop reads it."""
    TRACED = "traced"
    """As TOPICSERVE, each record with a sampled trace of its own."""
    INSTANCES = "instances"
    """`{"instances": [[...], ...]}`, with all rows of a record."""
    PROTOBUF = "protobuf"
    """TensorFlow Serving's PredictRequest, with all rows of a record."""
    OCTETS = "octets"
    """The row's float32s in their bytes, as `application/octet-stream`."""
    OPEN_INFERENCE = "open inference"
    """The request of the Open Inference Protocol, with the id as a tensor beside the row."""


_CONTENT_TYPES = {
    Shape.PROTOBUF: names.PROTOBUF_CONTENT_TYPE,
    Shape.OCTETS: "application/octet-stream",
}


@dataclass(frozen=True)
class Workload:
    """Record ids and their rows, float64 [records * rows, features] of six decimals.

    A row of 64 has 680 bytes as JSON. All shapes carry the same rows under the same key and
    headers, so that what is moved and parsed differs by the shape alone.
    """

    ids: list[str]
    rows: NDArray[np.float64]
    rows_of_a_record: int = 1
    bad: range = range(0)
    """The indexes of records whose rows are one float short."""
    servables: tuple[str, ...] = (SERVABLE,)
    """What records ask for in turn."""

    @classmethod
    def make(
        cls, records: int, features: int = FEATURES, rows: int = 1, seed: int = 0
    ) -> "Workload":
        """Return that many records, the same for the same seed."""
        rng = np.random.default_rng(seed)
        ids = [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(records)]
        return cls(ids, np.round(rng.standard_normal((records * rows, features)), 6), rows)

    def rows_of(self, index: int) -> NDArray[np.float64]:
        """Return one record's rows."""
        start = index * self.rows_of_a_record
        return self.rows[start : start + self.rows_of_a_record]

    def value(self, index: int, shape: Shape) -> bytes:
        """Return one record's body."""
        rows = self.rows_of(index)
        if index in self.bad:
            rows = rows[:, :-1]
        if shape is Shape.PROTOBUF:
            return encode_predict_request({"x": rows.astype(np.float32)}, servable_name=SERVABLE)
        if shape is Shape.OCTETS:
            return bytes(rows[0].astype(np.float32))
        body: dict[str, object] = {"instance": rows[0]}
        if shape is Shape.INSTANCES:
            body = {"instances": rows}
        elif shape is Shape.HAND_LOOP:
            body = {"id": self.ids[index], "inputs": [{"data": rows[0]}]}
        elif shape is Shape.OPEN_INFERENCE:
            tensor = {"name": "x", "datatype": "FP32", "shape": rows.shape, "data": rows.ravel()}
            text = {"name": "id", "datatype": "BYTES", "shape": (1,), "data": [self.ids[index]]}
            body = {"inputs": [tensor, text]}
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)

    def metadata(self, index: int) -> bytes:
        """Return one record's metadata as the store holds it, some 70 bytes."""
        return orjson.dumps({"row": index, "source": "benchmark", "label": index % 10})


def input_headers(
    record_id: str, shape: Shape, servable: str = SERVABLE
) -> list[tuple[str, bytes]]:
    """Return the CloudEvents headers of an input record."""
    if shape is Shape.OPEN_INFERENCE:
        return [("mlserver-model", SERVABLE.encode())]
    content_type = _CONTENT_TYPES.get(shape, names.JSON_CONTENT_TYPE)
    trace_id = record_id.replace("-", "")
    traceparent = ("traceparent", f"00-{trace_id}-{trace_id[:16]}-01".encode())
    return [
        *([traceparent] if shape is Shape.TRACED else []),
        (names.SPECVERSION, names.SPECVERSION_VALUE.encode()),
        (names.ID, record_id.encode()),
        (names.SOURCE, b"/benchmark"),
        (names.TYPE, names.INPUT_TYPE.encode()),
        (names.SERVABLE, servable.encode()),
        (names.CONTENT_TYPE, content_type.encode()),
        *([(names.SIGNATURE, OCTETS.encode())] if shape is Shape.OCTETS else []),
    ]
