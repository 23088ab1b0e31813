"""Whether the results are all there and right; a fast wrong answer wins nothing."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.workload import Workload
from tests.support.servables.models import Network
from topicserve.wire.json_codec.body import Form
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.result import decode_result

CHECK_EVERY = 100
TOLERANCE = 1e-4


class Answers:
    """Counts results by record id, and keeps one in a hundred to look into afterwards."""

    def __init__(self, workload: Workload, network: Network) -> None:
        self._workload, self._network = workload, network
        self._seen: set[bytes] = set()
        self._kept: list[Any] = []
        self.duplicates = 0

    def __len__(self) -> int:
        return len(self._seen)

    def add(self, messages: Iterable[Any]) -> None:
        """Take results as confluent-kafka reads them; the key is the record id."""
        for message in messages:
            key = message.key()
            if key in self._seen:
                self.duplicates += 1
                continue
            self._seen.add(key)
            if len(self._seen) % CHECK_EVERY == 0:
                self._kept.append(message)

    def missing(self, indexes: Iterable[int]) -> int:
        """Return how many of these records of the workload have no result."""
        ids = (self._workload.ids[index].encode() for index in indexes)
        return sum(record_id not in self._seen for record_id in ids)

    def check(self) -> None:
        """Raise AssertionError unless ids are the workload's, and what was kept is right."""
        unknown = self._seen - {record_id.encode() for record_id in self._workload.ids}
        if unknown:
            raise AssertionError(f"{len(unknown)} results have ids that were never sent")
        index_of = {record_id: index for index, record_id in enumerate(self._workload.ids)}
        answers = [_read(message) for message in self._kept]
        indexes = [index_of[record_id] for record_id, _, _ in answers]
        found = np.concatenate([predictions for _, predictions, _ in answers])
        wanted = [self._network.predict(self._workload.rows_of(index)) for index in indexes]
        if not np.allclose(found, np.concatenate(wanted), atol=TOLERANCE):
            raise AssertionError("predictions differ from the network's")
        for (record_id, _, metadata), index in zip(answers, indexes, strict=True):
            if metadata != orjson.loads(self._workload.metadata(index)):
                raise AssertionError(f"wrong metadata for {record_id}: {metadata}")


def _read(message: Any) -> tuple[str, NDArray[Any], Any]:
    """Return the record id, the probabilities by row and the metadata of our result, or another's.

    A hand loop's is known by its member "y", MLServer's by the model's name.
    """
    value, headers = message.value(), message.headers() or []
    if b'"y":' in value:
        body = orjson.loads(value)
        return body["id"], np.atleast_2d(body["y"]), body["metadata"]
    if b'"model_name":' in value:
        body = orjson.loads(value)
        probabilities, metadata = (one["data"] for one in body["outputs"])
        return body["id"], np.atleast_2d(probabilities), orjson.loads(metadata[0])
    record = KafkaRecord(message.topic(), 0, 0, 0, message.key(), value, headers)
    result = decode_result(record)
    tensors = result.form is Form.TENSORS
    predictions = next(iter(result.value.values())) if tensors else result.value
    return result.record_id, np.atleast_2d(predictions), result.metadata
