"""How large the batches of a confluent-kafka producer may be, which follows what brokers refuse.

A topic's `max.message.bytes` is a limit on batches. librdkafka fills one up to `batch.size`, and
one that is refused is not divided (issue 3575 tells of what comes after, in a transaction): each of
its records fails as too large, whatever its own size. So what may have been refused for its
company is sent again by a new client, in smaller batches.
"""

import threading
from typing import Any

from confluent_kafka import KafkaError

from topicserve.backends.errors import BackendError, BackendUnavailableError
from topicserve.backends.kafka_settings import integer
from topicserve.wire.kafka_record import OutgoingRecord, batch_bytes

BATCH_SIZE = "batch.size"
# librdkafka's defaults.
_DEFAULTS: dict[str, object] = {BATCH_SIZE: 1_000_000, "message.max.bytes": 1_000_000}
# Few refusals, and a limit that is a little below the last size costs no more than that share.
_SMALLER = 4


class BatchLimit:
    """The `batch.size` in a producer's configuration. Thread-safe."""

    def __init__(self, configuration: dict[str, Any]) -> None:
        self._configuration = configuration
        merged = _DEFAULTS | configuration
        self.max_bytes = min(integer(merged, name) for name in _DEFAULTS)
        """What no batch of more than one record exceeds."""
        self._lock = threading.Lock()
        self._is_too_large = False

    def refusal(self, error: BackendError, message: Any, max_bytes: int) -> BackendError:
        """Return what a record's refusal as too large means, in a batch of at most that size.

        librdkafka adds no record to a batch that would then be larger, so a larger record was
        alone in its batch.
        """
        record = OutgoingRecord("", message.key(), message.value(), message.headers() or [])
        if batch_bytes(record) > max_bytes:
            return error
        with self._lock:
            self._is_too_large |= max_bytes == self.max_bytes
        return BackendUnavailableError(f"{error}; it is sent again in a smaller batch")

    def shrink(self) -> bool:
        """Have the next client make smaller batches, if some were refused; return whether so."""
        with self._lock:
            is_too_large, self._is_too_large = self._is_too_large, False
            if is_too_large:
                self.max_bytes = max(self.max_bytes // _SMALLER, 1)
                self._configuration[BATCH_SIZE] = self.max_bytes
        return is_too_large


def is_broker_refusal(error: object, message: Any) -> bool:
    """Return whether a broker found a batch too large; the client's own refusal has no message."""
    return (
        message is not None
        and isinstance(error, KafkaError)
        and error.code() == KafkaError.MSG_SIZE_TOO_LARGE
    )
