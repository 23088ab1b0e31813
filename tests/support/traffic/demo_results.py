"""Results of the demo's digits, right unless a test changes them."""

from typing import Any

import numpy as np

from tests.support.stages.records import a_kafka_record, an_id
from topicserve.demo.ledger import DemoLedger
from topicserve.wire.json_codec.body import Form
from topicserve.wire.result import MetadataStatus, Result

SURE_OF_SEVEN = np.eye(10, dtype=np.float32)[[7]]
METADATA = {"row": 0, "label": 7, "written_at": 100.0, "source": "/tests"}
VALUE = {"digit": 7, "name": "seven", "probabilities": SURE_OF_SEVEN[0].tolist()}


def a_ledger(*numbers: int) -> DemoLedger:
    """Return a ledger whose version 1 is sure that row 0 is a seven, with records of that row."""
    ledger = DemoLedger({1: SURE_OF_SEVEN})
    for number in numbers:
        ledger.publish(an_id(number), METADATA)
    return ledger


def a_result(number: int = 1, **changes: Any) -> Result:
    """Return a result that is as it should be."""
    right: dict[str, Any] = {
        "record_id": an_id(number),
        "key": None,
        "servable": "digits",
        "version": 1,
        "signature_name": "serving_default",
        "form": Form.INSTANCE,
        "value": VALUE,
        "metadata": METADATA,
        "metadata_status": MetadataStatus.FOUND,
        "worker_id": "worker-1",
        "trace": (),
        "record": a_kafka_record(),
    }
    return Result(**right | changes)
