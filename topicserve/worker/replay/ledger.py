"""Counts every record of a replay once, by its offset, up to what is committed."""

import threading
from collections.abc import Iterable, Sequence

from topicserve.backends.broker import OffsetAndMetadata, Offsets
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition
from topicserve.worker.replay.progress_note import ProgressNote, Tally

_NO_OUTCOME = ""


class _Page:
    """One partition: the tally below `base`, and the outcome of each record read behind it."""

    def __init__(self, note: ProgressNote, base: int) -> None:
        self.note = note
        self.base = base
        self.outcomes: dict[int, str] = {}

    def below(self, offset: int) -> Tally:
        """Return the tally of all records below an offset."""
        tally = Tally()
        for place, outcome in self.outcomes.items():
            if place < offset:
                tally.read += 1
                if outcome != _NO_OUTCOME:
                    tally.outcomes[outcome] += 1
        return self.note.tally.plus(tally)

    def note_at(self, offset: int) -> ProgressNote:
        """Return the note that belongs beside an offset."""
        return ProgressNote(self.note.job, self.note.range, self.below(offset))

    def settle(self, offset: int) -> None:
        """Forget what is committed; its tally is in the note."""
        self.note, self.base = self.note_at(offset), offset
        self.outcomes = {p: outcome for p, outcome in self.outcomes.items() if p >= offset}


class Ledger:
    """The account of the partitions that this replica has. Any thread may call it.

    A record that is read again, after an aborted transaction, is the same entry: nothing is counted
    twice. What is not committed is part of no note: the next owner reads it and counts it.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._pages: dict[TopicPartition, _Page] = {}

    def open(self, partition: TopicPartition, note: ProgressNote, offset: int) -> None:
        """Take a partition over at its committed offset, with the note beside that."""
        with self._lock:
            self._pages[partition] = _Page(note, offset)

    def drop(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that went."""
        with self._lock:
            for partition in partitions:
                self._pages.pop(partition, None)

    def read(self, records: Sequence[KafkaRecord]) -> None:
        """Note that these records were read; their outcomes follow."""
        with self._lock:
            for record in records:
                page = self._pages.get(TopicPartition(record.topic, record.partition))
                if page is not None:
                    page.outcomes.setdefault(record.offset, _NO_OUTCOME)

    def settle(self, outcomes: Iterable[tuple[TopicPartition, int, str]]) -> None:
        """Note the outcome of records; the last one that is noted for an offset counts."""
        with self._lock:
            for partition, offset, outcome in outcomes:
                page = self._pages.get(partition)
                # One below the base was counted: it is published twice, and was read once.
                if page is not None and offset >= page.base:
                    page.outcomes[offset] = outcome

    def noted(self, offsets: Offsets) -> dict[TopicPartition, OffsetAndMetadata]:
        """Return offsets with the notes that belong beside them; of open partitions alone."""
        with self._lock:
            return {
                partition: self._pages[partition].note_at(offset).beside(offset)
                for partition, offset in offsets.items()
                if partition in self._pages
            }

    def committed(self, offsets: Offsets) -> None:
        """Forget what these committed offsets cover."""
        with self._lock:
            for partition, offset in offsets.items():
                page = self._pages.get(partition)
                if page is not None and offset >= page.base:
                    page.settle(int(offset))
