"""Finds the record that ends its worker, by what was in flight each time that one died.

A worker commits a note beside the offsets of the partitions that it has (see `note.py`), and takes
it back when it gives them up in order. A worker that finds such a note knows that the one before
died, and reads carefully what that one may have had in flight: in small chunks, each of one
partition, one chunk at a time, each noted before it is predicted. So the next death narrows the
suspects down, to a single record at last, which becomes a dead letter after `max_attempts` deaths.

A worker that was never followed by such a death pays one commit for each partition it is assigned.
"""

import uuid
from collections.abc import Iterable, Sequence

from topicserve.backends.broker import Consumer
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.quarantine.careful_partition import CarefulPartition
from topicserve.worker.quarantine.careful_reading import CarefulReading, CommitsNotes
from topicserve.worker.quarantine.given_up import GivenUp
from topicserve.worker.quarantine.note import Note
from topicserve.worker.quarantine.predecessors import PredecessorNotes
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.stages.batch import Gathers
from topicserve.worker.stages.request import Batch, Polled, Rejection, Request


class Quarantine:
    """Holds suspects back and lets them out chunk by chunk.

    The polling thread owns it; batch threads call `begins`, `survived` and `requeue` alone, and
    what they change is in ChunkInFlight with its lock. Notes are committed by the polling thread,
    which blocks for the broker's answer. `delivery.max_attempts` of 0 switches all of it off.
    """

    def __init__(
        self,
        environment: Environment,
        consumer: Consumer,
        tracker: OffsetTracker,
        batcher: Gathers,
        delivery: CommitsNotes,
    ) -> None:
        self._tracker = tracker
        self._batcher = batcher
        self._delivery = delivery
        self._max_attempts = environment.config.delivery.max_attempts
        self.turn_seconds = 0.2
        """How long one turn of the polling loop goes on with chunks before it polls again."""
        # Tells this process from the one that had its name before.
        self._worker = uuid.uuid4().hex[:8]
        max_records = environment.config.batching.max_in_flight_records
        self._predecessors = PredecessorNotes(consumer, tracker, self._worker, max_records)
        self._given_up = GivenUp(max(self._max_attempts, 2))
        self._timed_out: set[TopicPartition] = set()
        self._careful = CarefulReading(environment, tracker, batcher, delivery, self._plain_note)

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is suspected."""
        return not self._careful

    @property
    def is_needed(self) -> bool:
        """Return whether what was polled must go through `hold_back`: nearly always it need not.

        It must where a partition's first records came, and where a record is suspected.
        """
        return bool(
            self._careful
            or self._given_up
            or self._predecessors.is_due
            or self._tracker.has_started_partitions
        )

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Look at the notes of these partitions when their first records come."""
        if self._max_attempts:
            self._predecessors.assigned(partitions)

    def released(self, partitions: Sequence[TopicPartition]) -> None:
        """Forget partitions that are gone."""
        self._predecessors.done(partitions)
        for partition in partitions:
            self._careful.forget(partition)
            self._given_up.forget(partition)

    def hold_back(
        self, requests: list[Request], epoch: int
    ) -> tuple[list[Request], list[Rejection]]:
        """Take out the requests that are suspected; return the others, and what is given up.

        With the first records of a partition its note is read, which blocks for the broker's
        answer. Without one the records go on unguarded, and the next poll asks again.
        """
        self._open_started()
        if not self._careful and not self._given_up:
            return requests, []
        free: list[Request] = []
        rejections: list[Rejection] = []
        for request in requests:
            state = self._careful.of(request.assignment.partition)
            if (rejection := self._given_up.rejection(request)) is not None:
                rejections.append(rejection)
            elif state is None:
                free.append(request)
            else:
                state.held.append((epoch, request))
        return free, rejections

    def step(self) -> None:
        """Let chunks out, for a moment; the polling loop calls it at every turn."""
        if self._careful:
            self._tracker.finish(self.drop_revoked())  # a transaction may have been started over
            self._careful.step(self.turn_seconds)

    def full(self) -> list[TopicPartition]:
        """Return the partitions of which enough is held: no more of them is to be polled."""
        return self._careful.full()

    def begins(self, batch: Batch) -> None:
        """Record that a batch of suspects is being predicted. Any thread may call it."""
        self._careful.chunk.begins(batch)

    def survived(self, batch: Batch) -> None:
        """Record that a batch was predicted, whatever came of it. Any thread may call it."""
        self._careful.chunk.survived(batch)

    def gave_up_one(self) -> None:
        """Record that a suspect was given up before it was predicted. Any thread may call it."""
        self._careful.chunk.gave_up_one()

    def requeue(self, batch: Batch) -> None:
        """Take back a batch whose servable is not available now. Any thread may call it."""
        self._batcher.add([], batch.rejections, batch.epoch)
        self._careful.chunk.requeue(batch)

    def timed_out(self, requests: Sequence[Request]) -> None:
        """Note the records of what does not return, before this worker ends."""
        offsets: dict[TopicPartition, list[int]] = {}
        for request in requests:
            offsets.setdefault(request.assignment.partition, []).append(request.record.offset)
        for partition, found in offsets.items():
            state = self._careful.of(partition) or CarefulPartition(self._plain_note(partition))
            note = state.noted(min(found), max(found), timed_out=True)
            self._tracker.commits.note(partition, note.text)
            self._timed_out.add(partition)
        self._delivery.commit_notes()

    def note_clean_stop(self, partitions: Iterable[TopicPartition]) -> None:
        """Take the word `working` back; the caller commits the notes."""
        for partition in partitions:
            if partition not in self._timed_out:
                state = self._careful.of(partition)
                note = self._plain_note(partition) if state is None else state.note
                self._tracker.commits.note(partition, note.handed_over().text)

    def drop_revoked(self) -> list[Polled]:
        """Take out and return the held requests whose partitions are no longer ours."""
        return self._careful.drop_revoked()

    def _open_started(self) -> None:
        """Read the notes of newly assigned partitions, and write this worker's own."""
        for partition, went_back in self._tracker.take_started().items():
            if went_back:
                self._begin_again(partition)
            self._predecessors.started([partition])
        if not self._predecessors.is_due:
            return
        notes = self._predecessors.read()
        for partition, note in notes.items():
            self._open(partition, note.judged(max(self._max_attempts, 2)))
        if notes and self._delivery.commit_notes():
            self._predecessors.done(notes)

    def _open(self, partition: TopicPartition, note: Note) -> None:
        self._tracker.commits.note(partition, note.text)
        self._given_up.set(partition, note.given_up)
        if note.deaths or note.suspects is not None or note.given_up:
            self._careful.start(partition, note)

    def _begin_again(self, partition: TopicPartition) -> None:
        """Forget what is suspected of a log whose place another has taken."""
        self._given_up.forget(partition)
        self._timed_out.discard(partition)
        self._careful.release(partition)
        if self._max_attempts and not self._predecessors.is_unread(partition):
            self._tracker.commits.note(partition, self._plain_note(partition).text)

    def _plain_note(self, partition: TopicPartition) -> Note:
        """Return the note of a partition of which nothing is suspected."""
        return Note(self._worker, given_up=self._given_up.of(partition))
