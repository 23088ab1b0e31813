"""Records that are not predicted any more: they become dead letters."""

import logging
from collections.abc import Mapping

from topicserve.errors import TopicserveError
from topicserve.tracing import trace_of
from topicserve.wire.dead_letter import Reason
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.stages.request import Rejection, Request
from topicserve.worker.telemetry.logging import log_event


class WorkerKilledError(TopicserveError):
    """Workers died while they predicted this record."""


class BatchTimeoutError(TopicserveError):
    """A prediction did not return in time."""


class GivenUp:
    """The offsets that were given up. The polling thread's alone.

    Kept until the partition goes: a transaction may yet be started over, or the worker die.
    """

    def __init__(self, attempts: int) -> None:
        """Note none; `attempts` is how often each of them was tried."""
        self._attempts = attempts
        self._offsets: dict[TopicPartition, Mapping[int, bool]] = {}

    def __bool__(self) -> bool:
        """Return whether there are any."""
        return bool(self._offsets)

    def set(self, partition: TopicPartition, offsets: Mapping[int, bool]) -> None:
        """Give up offsets of a partition; True stands for one whose prediction timed out."""
        if offsets:
            self._offsets[partition] = offsets

    def of(self, partition: TopicPartition) -> Mapping[int, bool]:
        """Return the offsets of a partition."""
        return self._offsets.get(partition, {})

    def forget(self, partition: TopicPartition) -> None:
        """Forget a partition that is gone, or whose log is."""
        self._offsets.pop(partition, None)

    def rejection(self, request: Request) -> Rejection | None:
        """Return why a request is given up, and log it; None if it is not."""
        record = request.record
        is_timed_out = self.of(request.assignment.partition).get(record.offset)
        if is_timed_out is None:
            return None
        times = f"at least {self._attempts} times in a row, at last alone"
        reason = Reason.TIMED_OUT if is_timed_out else Reason.KILLED_WORKER
        error = (
            BatchTimeoutError(f"its prediction or its body did not return {times}")
            if is_timed_out
            else WorkerKilledError(f"the worker that predicted it died {times}")
        )
        log_event(
            "record_quarantined",
            logging.ERROR,
            partition=f"{record.topic}-{record.partition}",
            offset=record.offset,
            reason=reason.value,
            **trace_of(record.headers),
        )
        return Rejection(request, reason, error)
