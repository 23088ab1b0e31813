"""What the workers that had this one's partitions before have noted."""

import logging
from collections.abc import Iterable

from topicserve.backends.broker import Consumer, metadata_of
from topicserve.backends.errors import BackendUnavailableError
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.quarantine.note import Note
from topicserve.worker.telemetry.logging import log_event

_ANSWER_SECONDS = 5.0


class PredecessorNotes:
    """Reads each partition's note once, when its first records were polled.

    Not when it is assigned: the offsets of its records tell whether the note is about this log. The
    polling thread's alone; `read` blocks for the broker's answer.
    """

    def __init__(
        self, consumer: Consumer, tracker: OffsetTracker, worker: str, max_in_flight_records: int
    ) -> None:
        self._consumer = consumer
        self._tracker = tracker
        self._worker = worker
        self._max_in_flight_records = max_in_flight_records
        self._unread: set[TopicPartition] = set()
        self._due: set[TopicPartition] = set()

    @property
    def is_due(self) -> bool:
        """Return whether a note is to be read."""
        return bool(self._due)

    def is_unread(self, partition: TopicPartition) -> bool:
        """Return whether a partition's note is still to be read."""
        return partition in self._unread

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Read the notes of these partitions when their first records come."""
        self._unread.update(partitions)

    def started(self, partitions: Iterable[TopicPartition]) -> None:
        """Note that the first records of these partitions were polled."""
        self._due |= self._unread.intersection(partitions)

    def done(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions whose notes were taken over, or that are gone."""
        self._unread.difference_update(partitions)
        self._due.difference_update(partitions)

    def read(self) -> dict[TopicPartition, Note]:
        """Return the notes that are due, as this worker takes them over; they are due until `done`.

        Where the broker does not answer there is none: ask again with the next records.
        """
        first_offsets = self._tracker.reading.first_offsets()
        wanted = sorted(self._due & first_offsets.keys())
        if not wanted:
            return {}
        try:
            found = self._consumer.committed(wanted, _ANSWER_SECONDS)
        except BackendUnavailableError as error:
            log_event("attempts_not_noted", logging.WARNING, problem=str(error))
            return {}
        # One behind the first record was committed of another log.
        offsets = {p: o for p, o in found.items() if o is not None and o <= first_offsets[p]}
        self._tracker.reading.start_at({p: int(o) for p, o in offsets.items()})
        ends = self._log_ends()
        notes = {}
        for partition in wanted:
            first = first_offsets[partition]
            end = first + self._max_in_flight_records
            # What came behind the log's end since then, the worker before has not seen.
            end = min(end, ends.get(partition, end))
            text = metadata_of(offsets[partition]) if partition in offsets else ""
            notes[partition] = Note.parse(text).taken_over(self._worker, first, end)
        return notes

    def _log_ends(self) -> dict[TopicPartition, int]:
        positions = self._tracker.reading.positions()
        lags = self._consumer.stats().lag_records
        return {p: positions[p] + lag for p, lag in lags.items() if p in positions}
