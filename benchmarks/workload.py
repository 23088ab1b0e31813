"""What is drained: records of 64 floats with metadata, in our wire format and the hand loops'."""

import uuid
from dataclasses import dataclass
from enum import Enum

import numpy as np
import orjson
from numpy.typing import NDArray

from tests.support.servables.models import FEATURES
from topicserve.wire import headers as names

SERVABLE = "network"
HAND_LOOP_PREFIX = "meta:"
OUR_PREFIX = "topicserve:metadata:"


class Shape(Enum):
    """How a record's body is written."""

    TOPICSERVE = "topicserve"
    """`{"instance": [...]}`, the id in the header ce_id."""
    HAND_LOOP = "hand loop"
    """`{"id": ..., "inputs": [{"data": [...]}]}`, as the strong hand loop reads it."""


@dataclass(frozen=True)
class Workload:
    """Record ids and their rows, float64 [records, 64] of six decimals: 680 bytes as JSON.

    Both shapes carry the same rows under the same key and headers, so that what is moved and
    parsed differs by the shape alone.
    """

    ids: list[str]
    rows: NDArray[np.float64]

    @classmethod
    def make(cls, records: int, seed: int = 0) -> "Workload":
        """Return that many records, the same for the same seed."""
        rng = np.random.default_rng(seed)
        ids = [str(uuid.UUID(bytes=rng.bytes(16), version=4)) for _ in range(records)]
        return cls(ids, np.round(rng.standard_normal((records, FEATURES)), 6))

    def value(self, index: int, shape: Shape) -> bytes:
        """Return one record's body."""
        row = self.rows[index]
        if shape is Shape.TOPICSERVE:
            return orjson.dumps({"instance": row}, option=orjson.OPT_SERIALIZE_NUMPY)
        body = {"id": self.ids[index], "inputs": [{"data": row}]}
        return orjson.dumps(body, option=orjson.OPT_SERIALIZE_NUMPY)

    def metadata(self, index: int) -> bytes:
        """Return one record's metadata as the store holds it, some 70 bytes."""
        return orjson.dumps({"row": index, "source": "benchmark", "label": index % 10})


def input_headers(record_id: str) -> list[tuple[str, bytes]]:
    """Return the CloudEvents headers of an input record."""
    return [
        (names.SPECVERSION, names.SPECVERSION_VALUE.encode()),
        (names.ID, record_id.encode()),
        (names.SOURCE, b"/benchmark"),
        (names.TYPE, names.INPUT_TYPE.encode()),
        (names.SERVABLE, SERVABLE.encode()),
        (names.CONTENT_TYPE, names.JSON_CONTENT_TYPE.encode()),
    ]
