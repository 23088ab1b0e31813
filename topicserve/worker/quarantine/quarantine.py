"""Finds the record that ends its worker, by what was in flight each time that one died.

A worker commits a note beside the offsets of the partitions that it has (see `note.py`), and takes
it back when it gives them up in order. A worker that finds such a note knows that the one before
died, and reads carefully what that one may have had in flight: in small chunks, each of one
partition, one chunk at a time, each noted before it is predicted. So the next death narrows the
suspects down, to a single record at last, which becomes a dead letter after `max_attempts` deaths.

A worker that was never followed by such a death pays one commit for each partition it is assigned.
"""

import logging
import uuid
from collections.abc import Iterable, Sequence
from typing import Protocol

from topicserve.backends.broker import Consumer
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.quarantine.careful_partition import CarefulPartition
from topicserve.worker.quarantine.chunk import ChunkInFlight, as_suspect
from topicserve.worker.quarantine.given_up import GivenUp
from topicserve.worker.quarantine.note import Note
from topicserve.worker.quarantine.predecessors import PredecessorNotes
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.stages.batch import Batcher
from topicserve.worker.stages.request import Batch, Polled, Rejection, Request
from topicserve.worker.telemetry.logging import log_event

_RETRY_SECONDS = 1.0


class CommitsNotes(Protocol):
    """What the quarantine asks of the delivery."""

    def commit_notes(self) -> bool:
        """Commit the notes that changed; False where the broker did not take them."""


class Quarantine:
    """Holds suspects back and lets them out chunk by chunk.

    The polling thread owns it; batch threads call `survived` and `requeue` alone, and what they
    change is in ChunkInFlight with its lock. Notes are committed by the polling thread, which
    blocks for the broker's answer. `delivery.max_attempts` of 0 switches all of it off.
    """

    def __init__(
        self,
        environment: Environment,
        consumer: Consumer,
        tracker: OffsetTracker,
        batcher: Batcher,
        delivery: CommitsNotes,
    ) -> None:
        self._tracker = tracker
        self._batcher = batcher
        self._delivery = delivery
        self._max_attempts = environment.config.delivery.max_attempts
        self._metrics = environment.metrics
        self._clock = environment.clock
        self.turn_seconds = 0.2
        """How long one turn of the polling loop goes on with chunks before it polls again."""
        # Tells this process from the one that had its name before.
        self._worker = uuid.uuid4().hex[:8]
        max_records = environment.config.batching.max_in_flight_records
        self._predecessors = PredecessorNotes(consumer, tracker, self._worker, max_records)
        self._careful: dict[TopicPartition, CarefulPartition] = {}
        self._given_up = GivenUp(max(self._max_attempts, 2))
        self._timed_out: set[TopicPartition] = set()
        self._retry_at = 0.0
        self._chunk = ChunkInFlight(self._clock)

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
            self._careful.pop(partition, None)
            self._given_up.forget(partition)
        self._report()

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
            state = self._careful.get(request.assignment.partition)
            if (rejection := self._given_up.rejection(request)) is not None:
                rejections.append(rejection)
            elif state is None:
                free.append(request)
            else:
                state.held.append((epoch, request))
        return free, rejections

    def step(self) -> None:
        """Let chunks out, for a moment; the polling loop calls it at every turn."""
        if not self._careful:
            return
        self._tracker.finish(self.drop_revoked())  # a transaction may have been started over
        until = self._clock() + self.turn_seconds
        while self._let_out_next() and self._chunk.wait(until):
            pass

    def full(self) -> list[TopicPartition]:
        """Return the partitions of which enough is held: no more of them is to be polled."""
        return [partition for partition, state in self._careful.items() if state.is_full]

    def survived(self, batch: Batch) -> None:
        """Record that a batch was predicted, whatever came of it. Any thread may call it."""
        self._chunk.survived(batch)

    def requeue(self, batch: Batch) -> None:
        """Take back a batch whose servable is not available now. Any thread may call it."""
        self._batcher.add([], batch.rejections, batch.epoch)
        self._chunk.requeue(batch)

    def timed_out(self, batch: Batch) -> None:
        """Note the records of a batch that does not return, before this worker ends."""
        offsets: dict[TopicPartition, list[int]] = {}
        for request in batch.requests:
            offsets.setdefault(request.assignment.partition, []).append(request.record.offset)
        for partition, found in offsets.items():
            state = self._careful.get(partition) or CarefulPartition(self._plain_note(partition))
            note = state.noted(min(found), max(found), timed_out=True)
            self._tracker.commits.note(partition, note.text)
            self._timed_out.add(partition)
        self._delivery.commit_notes()

    def note_clean_stop(self, partitions: Iterable[TopicPartition]) -> None:
        """Take the word `working` back; the caller commits the notes."""
        for partition in partitions:
            if partition not in self._timed_out:
                state = self._careful.get(partition)
                note = self._plain_note(partition) if state is None else state.note
                self._tracker.commits.note(partition, note.handed_over().text)

    def drop_revoked(self) -> list[Polled]:
        """Take out and return the held requests whose partitions are no longer ours."""
        dropped = [one for state in self._careful.values() for one in state.drop_revoked()]
        return dropped + self._chunk.drop_revoked()

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
        self._report()

    def _open(self, partition: TopicPartition, note: Note) -> None:
        self._tracker.commits.note(partition, note.text)
        self._given_up.set(partition, note.given_up)
        if note.deaths or note.suspects is not None or note.given_up:
            # It may be there already, where a note could not be committed the time before.
            self._careful.setdefault(partition, CarefulPartition(note)).note = note
            log_event(
                "careful_reading_started",
                logging.WARNING,
                partition=f"{partition.topic}-{partition.partition}",
                note=note.text,
            )

    def _begin_again(self, partition: TopicPartition) -> None:
        """Forget what is suspected of a log whose place another has taken."""
        self._given_up.forget(partition)
        self._timed_out.discard(partition)
        state = self._careful.pop(partition, None)
        if state is not None:
            for epoch, request in state.held:
                self._batcher.add([request], [], epoch)
        if self._max_attempts and not self._predecessors.is_unread(partition):
            self._tracker.commits.note(partition, self._plain_note(partition).text)
        self._report()

    def _let_out_next(self) -> bool:
        """Let the next chunk out unless one is out already; False if there is none."""
        self._take_back()
        if self._chunk.is_predicting:
            return True
        finished = self._chunk.take_finished()
        if finished is not None:
            self._clear_suspects(finished)
        if self._clock() >= self._retry_at:
            positions = self._tracker.reading.positions()
            for partition, state in list(self._careful.items()):
                if state.held:
                    if self._let_out(partition, state):
                        return True
                elif state.deaths(positions.get(partition, 0)) is None:
                    self._trust(partition, state)
        if finished is not None:
            self._delivery.commit_notes()  # nothing follows that would say so
        return False

    def _let_out(self, partition: TopicPartition, state: CarefulPartition) -> bool:
        """Note a partition's next chunk and let it out; False if it is suspected no more."""
        requests = state.next_chunk(self._max_attempts)
        if not requests:
            self._trust(partition, state)
            return False
        first, last = requests[0][1].record.offset, requests[-1][1].record.offset
        self._tracker.commits.note(partition, state.noted(first, last).text)
        if not self._delivery.commit_notes():
            state.held.extendleft(reversed(requests))
            self._retry_at = self._clock() + _RETRY_SECONDS
            return True
        self._chunk.start(requests[0][1].assignment, len(requests))
        # The next one's turn comes first then.
        self._careful[partition] = self._careful.pop(partition)
        for epoch, request in requests:
            self._batcher.add([as_suspect(request)], [], epoch)
        return True

    def _trust(self, partition: TopicPartition, state: CarefulPartition) -> None:
        """Go on as usual: all that may have been in flight at the death has been predicted."""
        del self._careful[partition]
        self._tracker.commits.note(partition, self._plain_note(partition).text)
        for epoch, request in state.held:
            self._batcher.add([request], [], epoch)
        log_event("careful_reading_ended", partition=f"{partition.topic}-{partition.partition}")
        self._report()

    def _plain_note(self, partition: TopicPartition) -> Note:
        """Return the note of a partition of which nothing is suspected."""
        return Note(self._worker, given_up=self._given_up.of(partition))

    def _clear_suspects(self, partition: TopicPartition) -> None:
        """Take back that a chunk is being predicted; a death from here on is not its fault."""
        state = self._careful.get(partition)
        if state is not None:
            self._tracker.commits.note(partition, state.note.text)

    def _take_back(self) -> None:
        """Hold again what came back because its servable is not available."""
        returned = self._chunk.take_returned()
        if not returned:
            return
        self._retry_at = self._clock() + _RETRY_SECONDS
        for epoch, request in returned:
            state = self._careful.get(request.assignment.partition)
            if state is None:
                self._batcher.add([request], [], epoch)
            else:
                state.held.appendleft((epoch, request))

    def _report(self) -> None:
        self._metrics.careful_partitions.set(len(self._careful))
