"""Publishes the digits over and over at a steady pace, and reads what comes back."""

import threading
import time
import uuid
from collections.abc import Callable

from topicserve.demo.digits import Digits
from topicserve.demo.ledger import DemoLedger
from topicserve.producer.record import Record
from topicserve.producer.record_producer import RecordProducer
from topicserve.producer.result_reader import ResultReader

SERVABLE = "digits"
SOURCE = "/topicserve/demo"
# Whatever goes wrong with the story, the traffic ends.
MAX_PASSES = 100
_READ_SECONDS = 0.5
_FLUSH_SECONDS = 30.0


class Traffic:
    """Records on their way out and back; each of the two methods has a thread of its own."""

    def __init__(
        self,
        digits: Digits,
        ledger: DemoLedger,
        records_per_second: float,
        clock: Callable[[], float] = time.monotonic,
        now: Callable[[], float] = time.time,
        stopped: threading.Event | None = None,
    ) -> None:
        self._digits = digits
        self._ledger = ledger
        self._records_per_second = records_per_second
        self._clock = clock
        self._now = now
        self._last_pass = threading.Event()
        self._stopped = stopped or threading.Event()

    def publish(self, producer: RecordProducer) -> None:
        """Publish whole passes over the digits until `finish`; return once all are acknowledged.

        Raises PublishError for records that could not be published.
        """
        start = self._clock()
        number = 0
        for _ in range(MAX_PASSES):
            for row in range(len(self._digits.labels)):
                due = start + number / self._records_per_second
                if self._stopped.wait(max(0.0, due - self._clock())):
                    return
                self._publish_row(producer, row)
                number += 1
            if self._last_pass.is_set():
                break
        producer.flush(_FLUSH_SECONDS)

    def read(self, reader: ResultReader) -> None:
        """Read results until `stop`."""
        while not self._stopped.is_set():
            for result in reader.read(timeout_seconds=_READ_SECONDS):
                self._ledger.read(result, self._now())

    def finish(self) -> None:
        """Let the pass in progress be the last."""
        self._last_pass.set()

    def stop(self) -> None:
        """End publishing and reading."""
        self._stopped.set()

    def _publish_row(self, producer: RecordProducer, row: int) -> None:
        record_id = str(uuid.uuid4())
        metadata = {
            "row": row,
            "label": int(self._digits.labels[row]),
            "written_at": self._now(),
            "source": SOURCE,
        }
        # Noted first: its result may be back before `publish` returns.
        self._ledger.publish(record_id, metadata)
        producer.publish(
            Record(instance=self._digits.pixels[row], metadata=metadata, record_id=record_id)
        )
