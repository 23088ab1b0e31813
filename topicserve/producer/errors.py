"""What the producer's side says about records.

PublishError: records were not acknowledged
DeadLetterError: a worker gave a record up whose result is waited for
PredictTimeoutError: no result came in time
ProducerClosedError: what was called is closed
"""

from collections.abc import Mapping

from topicserve.backends.errors import BackendUnavailableError
from topicserve.errors import TopicserveError
from topicserve.wire.dead_letter import DeadLetter, Reason


class PublishError(TopicserveError):
    """Records were not acknowledged; all others since the last flush were.

    `failures` has the error of each by record id, the first MAX_FAILURES of them;
    `failed_records` counts them all. The metadata of those that are certainly not in the topic is
    removed, if the store answers.
    """

    MAX_FAILURES = 1000

    def __init__(self, failures: Mapping[str, Exception], failed_records: int) -> None:
        record_id, error = next(iter(failures.items()))
        super().__init__(
            f"{failed_records} record(s) were not published; the first is {record_id}: {error}"
        )
        self.failures = failures
        self.failed_records = failed_records


class DeadLetterError(TopicserveError):
    """A worker gave the record up; trying again without a change rarely helps.

    `reason` says why, as a metric's label does, `message` in words, and `dead_letter` has the
    record itself.
    """

    def __init__(self, record_id: str, dead_letter: DeadLetter) -> None:
        super().__init__(
            f"record {record_id} became a dead letter: "
            f"{dead_letter.reason.value}: {dead_letter.message}"
        )
        self.record_id = record_id
        self.dead_letter = dead_letter

    @property
    def reason(self) -> Reason:
        """Return why it was given up: one of a closed set."""
        return self.dead_letter.reason

    @property
    def message(self) -> str:
        """Return why it was given up, in words."""
        return self.dead_letter.message


class PredictTimeoutError(BackendUnavailableError, TimeoutError):
    """No result came in time; the message says how far the record is known to have come."""


class ProducerClosedError(BackendUnavailableError, RuntimeError):
    """The producer or client was closed; its caller opens another."""
