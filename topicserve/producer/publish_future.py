"""What becomes of one record."""

import time
from concurrent.futures import Future

from topicserve.backends.errors import BackendUnavailableError
from topicserve.backends.own_process import require_process, this_process
from topicserve.wire.kafka_record import Place


class PublishFuture(Future[Place]):
    """Done when the broker has acknowledged the record; `result()` says where it was written.

    It raises a BackendError where the record was not acknowledged. After a DeliveryTimeoutError,
    and where a connection was closed meanwhile, it is unknown whether the record was written, and
    its metadata is kept; after any other its metadata is removed, if the store answers. A record
    may be cancelled until it is on its way to the broker.

    `result` and `exception` never wait for ever: without a `timeout` of the caller's they raise
    BackendUnavailableError when nothing was heard of the record for longer than the producer's own
    limits allow. In a process that was forked meanwhile they raise ForkedError unless it is done.
    """

    def __init__(self, record_id: str, limit_seconds: float) -> None:
        super().__init__()
        self.record_id = record_id
        self._process_id = this_process()
        self._limit_seconds = limit_seconds
        self._give_up_at = time.monotonic() + limit_seconds

    def result(self, timeout: float | None = None) -> Place:
        """Wait for the acknowledgement, and return the record's topic, partition and offset.

        Raises why there is none, or TimeoutError when `timeout` runs out.
        """
        self.exception(timeout)
        return super().result(0)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        """Wait, and return why there is no acknowledgement; None once there is one."""
        if not self.done():
            require_process(self._process_id, "PublishFuture")
        left = max(self._give_up_at - time.monotonic(), 0)
        try:
            return super().exception(left if timeout is None else timeout)
        except TimeoutError:
            if timeout is not None:
                raise
            raise BackendUnavailableError(
                f"no acknowledgement of record {self.record_id} within {self._limit_seconds:g} s"
            ) from None
