"""Whether the results are all there and right; a fast wrong answer wins nothing."""

from collections.abc import Iterable
from typing import Any

import numpy as np
import orjson

from benchmarks.workload import Workload
from tests.support.servables.models import Network

CHECK_EVERY = 100
TOLERANCE = 1e-4


class Answers:
    """Counts results by record id, and keeps one in a hundred to look into afterwards."""

    def __init__(self, workload: Workload, network: Network) -> None:
        self._workload, self._network = workload, network
        self._seen: set[bytes] = set()
        self._kept: list[bytes] = []
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
                self._kept.append(message.value())

    def check(self) -> None:
        """Raise AssertionError unless ids are the workload's, and what was kept is right."""
        unknown = self._seen - {record_id.encode() for record_id in self._workload.ids}
        if unknown:
            raise AssertionError(f"{len(unknown)} results have ids that were never sent")
        index_of = {record_id: index for index, record_id in enumerate(self._workload.ids)}
        bodies = [orjson.loads(value) for value in self._kept]
        indexes = [index_of[body["id"]] for body in bodies]
        found = np.array([_prediction(body) for body in bodies])
        wanted = self._network.predict(self._workload.rows[indexes])
        if not np.allclose(found, wanted, atol=TOLERANCE):
            raise AssertionError("predictions differ from the network's")
        for body, index in zip(bodies, indexes, strict=True):
            if body["metadata"] != orjson.loads(self._workload.metadata(index)):
                raise AssertionError(f"wrong metadata for {body['id']}: {body['metadata']}")


def _prediction(body: dict[str, Any]) -> Any:
    """Return the probabilities in our result or in a hand loop's."""
    return body["prediction"] if "prediction" in body else body["y"]
