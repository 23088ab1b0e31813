"""What was published, what came back, and whether it is right."""

import threading
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from topicserve.demo.digits import NAMES, Floats
from topicserve.wire.result import MetadataStatus, Result

# Far above what another order of the same float32 sums makes, far below a wrong weight's effect.
TOLERANCE = 1e-4
MAX_PROBLEMS = 10


@dataclass(frozen=True, slots=True)
class DemoAnswer:
    """The first result of one record."""

    record_id: str
    row: int
    version: int
    worker_id: str
    digit: int
    name: str
    metadata: Mapping[str, Any]
    """As it was stored; a result that came with other metadata is counted as wrong."""
    latency_seconds: float
    """From the producer's timestamp in the metadata until the result was read."""
    read_at: float


@dataclass(slots=True)
class DemoLedger:
    """Knows at any moment what is still owed. One thread publishes, one reads, any may ask.

    `expected` has the probabilities [rows, 10] of each version, computed here from its weights.
    """

    expected: dict[int, Floats] = field(default_factory=dict)
    answers: dict[str, DemoAnswer] = field(default_factory=dict)
    answered: Counter[tuple[str, int]] = field(default_factory=Counter)
    """How many records each worker has answered with each version."""
    duplicates: int = 0
    wrong: int = 0
    problems: list[str] = field(default_factory=list)
    """The first MAX_PROBLEMS of what was wrong."""
    _sent: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def publish(self, record_id: str, metadata: Mapping[str, Any]) -> None:
        """Note a record that is about to be published."""
        with self._lock:
            self._sent[record_id] = metadata

    def read(self, result: Result, read_at: float) -> None:
        """Note a result; a second one of the same record only counts as a duplicate."""
        with self._lock:
            sent = self._sent.get(result.record_id)
            problem = self._problem(result, sent)
            if problem is not None:
                self.wrong += 1
                if len(self.problems) < MAX_PROBLEMS:
                    self.problems.append(f"{result.record_id}: {problem}")
            if sent is None or result.record_id in self.answers:
                self.duplicates += sent is not None
                return
            answer = _answer(result, sent, read_at)
            self.answers[result.record_id] = answer
            self.answered[answer.worker_id, answer.version] += 1

    @property
    def published(self) -> int:
        """Return how many records were published."""
        return len(self._sent)

    @property
    def owed(self) -> int:
        """Return how many records have no result yet."""
        return len(self._sent) - len(self.answers)

    def ids(self) -> list[str]:
        """Return the record ids in the order published."""
        with self._lock:
            return list(self._sent)

    def _problem(self, result: Result, sent: Mapping[str, Any] | None) -> str | None:
        """Return what is wrong with a result, None if nothing is."""
        if sent is None:
            return "was never published"
        if result.metadata_status is not MetadataStatus.FOUND or result.metadata != sent:
            return f"metadata {result.metadata} ({result.metadata_status.value}), stored was {sent}"
        if result.version not in self.expected:
            return f"version {result.version}, which was never released"
        expected = self.expected[result.version][sent["row"]]
        return _wrong_value(result.value, expected)


def _answer(result: Result, sent: Mapping[str, Any], read_at: float) -> DemoAnswer:
    value = result.value if isinstance(result.value, dict) else {}
    return DemoAnswer(
        record_id=result.record_id,
        row=sent["row"],
        version=result.version,
        worker_id=result.worker_id or "unknown",
        digit=value.get("digit", -1),
        name=value.get("name", "?"),
        metadata=sent,
        latency_seconds=read_at - sent["written_at"],
        read_at=read_at,
    )


def _wrong_value(value: Any, expected: Floats) -> str | None:
    try:
        found = np.asarray(value["probabilities"], np.float32)
        digit = int(np.argmax(found))
        close = found.shape == expected.shape and np.allclose(found, expected, atol=TOLERANCE)
        if not close or value["digit"] != digit or value["name"] != NAMES[digit]:
            return f"predicted {value}, the weights give {expected.round(4).tolist()}"
    except (TypeError, KeyError, ValueError) as error:
        return f"predicted {value!r}, which is no prediction of ours ({error!r})"
    return None
