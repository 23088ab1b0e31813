"""What becomes of predictions that do not return in time."""

from collections.abc import Callable

from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.quarantine.given_up import BatchTimeoutError
from topicserve.worker.quarantine.quarantine import Quarantine
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.stages.request import Batch, Request

# A prediction is slow when it has taken this long.
SLOW_PREDICT_SECONDS = 5.0


class PredictTimeouts:
    """Finds slow predictions and ends the worker for one that hangs. The polling thread owns it."""

    def __init__(
        self,
        running_for: Callable[[float], list[Batch]],
        quarantine: Quarantine,
        environment: Environment,
    ) -> None:
        """`running_for` returns what was predicted, or encoded, for longer than some seconds."""
        self._running_for = running_for
        self._quarantine = quarantine
        self._metrics = environment.metrics
        self._fatal = environment.fatal
        self._timeout_seconds = environment.config.delivery.predict_timeout_seconds
        self._slow_seconds = min(
            self._timeout_seconds or SLOW_PREDICT_SECONDS, SLOW_PREDICT_SECONDS
        )

    def slow_partitions(self) -> set[TopicPartition]:
        """Return the partitions of what is being predicted slowly.

        What is polled of them would only wait, and leave no room for others' records.
        """
        return _partitions_of(self._running_for(self._slow_seconds))

    def unfinished_partitions(self) -> set[TopicPartition]:
        """Return the partitions of all that is being predicted."""
        return _partitions_of(self._running_for(0))

    def check(self) -> None:
        """Note the records of predictions that hang, and report that the worker must end."""
        timeout = self._timeout_seconds
        hanging = self._running_for(timeout) if timeout else []
        if not hanging or self._fatal.error is not None:
            return
        for batch in hanging:
            self._quarantine.timed_out(batch.requests)
        self._metrics.predict_timeouts.inc(len(hanging))
        self._fatal.report(
            BatchTimeoutError(
                f"a prediction of {hanging[0].route.servable!r}, or the writing of its results, "
                f"has not returned for more than {timeout:g} s (delivery.predict_timeout_seconds); "
                "its records are noted"
            )
        )

    def body_hangs(self, request: Request) -> None:
        """Note a record whose body does not return, and report that the worker must end."""
        if self._fatal.error is not None:
            return
        self._quarantine.timed_out([request])
        self._metrics.predict_timeouts.inc()
        record, body = request.record, request.input.codec.content_type
        self._fatal.report(
            BatchTimeoutError(
                f"the body of {body} has not returned for more than {self._timeout_seconds:g} s "
                f"(delivery.predict_timeout_seconds) for the record at offset {record.offset} of "
                f"{record.topic}-{record.partition}, which is noted"
            )
        )


def _partitions_of(batches: list[Batch]) -> set[TopicPartition]:
    return {request.assignment.partition for batch in batches for request in batch.requests}
