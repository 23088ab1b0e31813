"""The one chunk of suspects that is being predicted."""

import threading
from collections.abc import Callable, Sequence

from msgspec.structs import replace

from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.request import Batch, Polled, Request

# A chunk that hangs is not waited for at every turn of the polling loop.
_LONGEST_WAIT_SECONDS = 1.0


class ChunkInFlight:
    """What the polling thread and the batch threads tell each other about the chunk.

    The polling thread starts a chunk and waits for it; batch threads say what was predicted and
    what comes back. One lock guards all of it, and no member holds it for long: only `wait` blocks.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._changed = threading.Condition()
        self._assignment: PartitionAssignment | None = None
        self._unfinished = 0
        self._begun = 0
        self._started = 0.0
        self._returned: list[tuple[int, Request]] = []

    def start(self, assignment: PartitionAssignment, records: int) -> None:
        """Note that so many records of one partition are let out."""
        with self._changed:
            self._assignment, self._unfinished, self._begun = assignment, records, 0
            self._started = self._clock()

    def begins(self, batch: Batch) -> None:
        """Note that a batch is being predicted from now on."""
        with self._changed:
            if self._is_of(batch):
                self._begun += len(batch.requests)

    def survived(self, batch: Batch) -> None:
        """Note that a batch was predicted, whatever came of it."""
        with self._changed:
            self._finish(batch)

    def gave_up_one(self) -> None:
        """Note that one record of it is given up unpredicted."""
        with self._changed:
            self._unfinished -= 1
            self._changed.notify_all()

    def requeue(self, batch: Batch) -> None:
        """Keep what comes back unpredicted until the polling thread takes it."""
        with self._changed:
            self._returned += [(batch.epoch, _as_usual(request)) for request in batch.requests]
            self._finish(batch)

    @property
    def is_predicting(self) -> bool:
        """Return whether a chunk is out of which not all has been predicted."""
        with self._changed:
            return self._assignment is not None and self._unfinished > 0

    def take_finished(self) -> TopicPartition | None:
        """Return the partition of a chunk that is predicted, once."""
        with self._changed:
            assignment, self._assignment = self._assignment, None
            return None if assignment is None else assignment.partition

    def take_returned(self) -> Sequence[tuple[int, Request]]:
        """Return the requests that came back, with their epochs, the last offset first."""
        with self._changed:
            returned, self._returned = self._returned, []
        return sorted(returned, key=lambda one: one[1].record.offset, reverse=True)

    def wait(self, until: float) -> bool:
        """Wait until the chunk is predicted; False when it is time to poll."""
        with self._changed:
            is_out = self._assignment is not None
            limit = min(until, self._started + _LONGEST_WAIT_SECONDS) if is_out else until
            return self._changed.wait_for(
                lambda: self._assignment is None or self._unfinished <= 0,
                max(limit - self._clock(), 0),
            )

    def drop_revoked(self) -> list[Polled]:
        """Take out and return the requests that came back and whose partitions are not ours now."""
        with self._changed:
            dropped: list[Polled] = [one for _, one in self._returned if one.assignment.closed]
            self._returned = [one for one in self._returned if not one[1].assignment.closed]
            if self._assignment is not None and self._assignment.closed:
                # Nothing else of it will be predicted. What is may yet end this worker, so its note
                # stays until then; afterwards the note is taken back as that of any chunk.
                self._unfinished = min(self._unfinished, self._begun)
        return dropped

    def _is_of(self, batch: Batch) -> bool:
        """Return whether a batch is of this chunk, and not of one that was dropped."""
        return bool(batch.requests) and batch.requests[0].assignment is self._assignment

    def _finish(self, batch: Batch) -> None:
        if self._is_of(batch):
            self._unfinished -= len(batch.requests)
            self._begun -= len(batch.requests)
            self._changed.notify_all()


def as_suspect(request: Request) -> Request:
    """Return a request that shares no batch with others."""
    return replace(request, route=replace(request.route, is_suspect=True))


def _as_usual(request: Request) -> Request:
    return replace(request, route=replace(request.route, is_suspect=False))
