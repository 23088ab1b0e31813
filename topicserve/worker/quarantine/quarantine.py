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
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from threading import Condition
from typing import Protocol

from msgspec.structs import replace as replace_struct

from topicserve.backends.broker import Consumer, metadata_of
from topicserve.backends.errors import BackendUnavailableError
from topicserve.wire.dead_letter import Reason
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.quarantine.note import Note, Suspects
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.stages.batch import Batcher
from topicserve.worker.stages.request import Batch, Polled, Rejection, Request
from topicserve.worker.telemetry.logging import log_event

FIRST_CHUNK_RECORDS = 256
"""After one death. A note costs a commit, some milliseconds: few records would read slowly."""
_CHUNK_SHRINKS_BY = 8
_MAX_HELD_RECORDS = 1024
_NOTES_TIMEOUT_SECONDS = 5.0
_RETRY_SECONDS = 1.0


class WorkerKilledError(Exception):
    """Workers died while they predicted this record."""


class PredictTimeoutError(Exception):
    """A prediction did not return in time."""


class CommitsNotes(Protocol):
    """What the quarantine asks of the delivery."""

    def commit_notes(self) -> bool:
        """Commit the notes that changed; False where the broker did not take them."""


@dataclass(slots=True)
class _Partition:
    """A partition that is read carefully."""

    note: Note
    """What was found at the assignment: what is suspected."""
    held: deque[tuple[int, Request]] = field(default_factory=deque)
    """Requests that wait for their chunk, with their epochs, in offset order."""

    def deaths(self, offset: int) -> int | None:
        """Return how many workers died with a record in flight; None if it is not suspected."""
        suspects = self.note.suspects
        if suspects is not None and offset in suspects:
            return suspects.deaths
        # Records before the suspects go the same way: they must be published first.
        last = max(self.note.given_up, default=-1)
        if suspects is not None:
            last = max(last, suspects.first)
        return self.note.deaths if offset < self.note.until or offset <= last else None

    def alone(self, first: int, last: int) -> int:
        """Return at how many deaths a record was alone: known of the one that is suspected now."""
        suspects = self.note.suspects
        is_the_one = suspects is not None and suspects.first == first == last == suspects.last
        return suspects.alone if suspects is not None and is_the_one else 0


@dataclass(slots=True)
class _Chunk:
    """Records that are noted, and being predicted."""

    assignment: PartitionAssignment
    suspects: Suspects
    unfinished: int
    started: float


class Quarantine:
    """Holds suspects back and lets them out chunk by chunk.

    The polling thread owns it; batch threads call `survived` and `requeue` alone.
    """

    def __init__(
        self,
        environment: Environment,
        consumer: Consumer,
        tracker: OffsetTracker,
        batcher: Batcher,
        delivery: CommitsNotes,
    ) -> None:
        self._consumer = consumer
        self._tracker = tracker
        self._batcher = batcher
        self._delivery = delivery
        self._max_attempts = environment.config.delivery.max_attempts
        self._max_in_flight_records = environment.config.batching.max_in_flight_records
        self._metrics = environment.metrics
        self._clock = environment.clock
        self.turn_seconds = 0.2
        """How long one turn of the polling loop goes on with chunks before it polls again."""
        # Tells this process from the one that had its name before.
        self._worker = uuid.uuid4().hex[:8]
        self._unopened: set[TopicPartition] = set()
        self._careful: dict[TopicPartition, _Partition] = {}
        # Kept until the partition goes: a transaction may yet be started over, or the worker die.
        self._given_up: dict[TopicPartition, Mapping[int, bool]] = {}
        self._timed_out: set[TopicPartition] = set()
        self._retry_at = 0.0
        self._changed = Condition()
        # Guarded by `_changed`: the chunk, and what came back of it.
        self._chunk: _Chunk | None = None
        self._returned: list[tuple[int, Request]] = []

    @property
    def is_idle(self) -> bool:
        """Return whether nothing is suspected."""
        return not self._careful

    def assigned(self, partitions: Iterable[TopicPartition]) -> None:
        """Look at the notes of these partitions when their first records come."""
        if self._max_attempts:
            self._unopened.update(partitions)

    def released(self, partitions: Iterable[TopicPartition]) -> None:
        """Forget partitions that are gone."""
        for partition in partitions:
            self._unopened.discard(partition)
            self._careful.pop(partition, None)
            self._given_up.pop(partition, None)
        self._report()

    def hold_back(
        self, records: Sequence[KafkaRecord], requests: Sequence[Request], epoch: int
    ) -> tuple[Sequence[Request], list[Rejection]]:
        """Take out the requests that are suspected; return the others, and what is given up.

        The requests are those of the records. With the first records of a partition its note is
        read, which blocks for the broker's answer.
        """
        self._open_new(records)
        if not self._careful and not self._given_up:
            return requests, []
        free: list[Request] = []
        rejections: list[Rejection] = []
        for request in requests:
            partition = request.assignment.partition
            state, given_up = self._careful.get(partition), self._given_up.get(partition, {})
            if request.record.offset in given_up:
                timed_out = given_up[request.record.offset]
                rejections.append(self._rejection(request, timed_out=timed_out))
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
        while self._let_out_next() and self._wait_for_chunk(until):
            pass

    def full(self) -> list[TopicPartition]:
        """Return the partitions of which enough is held: no more of them is to be polled."""
        return [
            partition
            for partition, state in self._careful.items()
            if len(state.held) > _MAX_HELD_RECORDS
        ]

    def survived(self, batch: Batch) -> None:
        """Record that a batch was predicted, whatever came of it. Any thread may call it."""
        with self._changed:
            if self._chunk is not None:
                self._chunk.unfinished -= len(batch.requests)
                self._changed.notify_all()

    def requeue(self, batch: Batch) -> None:
        """Take back a batch whose servable is not available now. Any thread may call it."""
        self._batcher.add([], batch.rejections, batch.epoch)
        with self._changed:
            self._returned += [(batch.epoch, _as_usual(request)) for request in batch.requests]
            if self._chunk is not None:
                self._chunk.unfinished -= len(batch.requests)
            self._changed.notify_all()

    def timed_out(self, batch: Batch) -> None:
        """Note the records of a batch that does not return, before this worker ends."""
        offsets: dict[TopicPartition, list[int]] = {}
        for request in batch.requests:
            offsets.setdefault(request.assignment.partition, []).append(request.record.offset)
        for partition, found in offsets.items():
            state = self._careful.get(partition) or _Partition(self._plain_note(partition))
            first, last = min(found), max(found)
            deaths, alone = state.deaths(first) or 0, state.alone(first, last)
            suspects = Suspects(first, last, deaths, alone, timed_out=True)
            self._tracker.note(
                partition, replace(state.note, suspects=suspects, is_predicting=True).text
            )
            self._timed_out.add(partition)
        self._delivery.commit_notes()

    def note_clean_stop(self, partitions: Iterable[TopicPartition]) -> None:
        """Take the word `working` back; the caller commits the notes."""
        for partition in partitions:
            if partition not in self._timed_out:
                state = self._careful.get(partition)
                note = self._plain_note(partition) if state is None else state.note
                self._tracker.note(partition, note.handed_over().text)

    def drop_revoked(self) -> list[Polled]:
        """Take out and return the held requests whose partitions are no longer ours."""
        dropped: list[Polled] = []
        for state in self._careful.values():
            dropped += [request for _, request in state.held if request.assignment.closed]
            state.held = deque(one for one in state.held if not one[1].assignment.closed)
        with self._changed:
            dropped += [request for _, request in self._returned if request.assignment.closed]
            self._returned = [one for one in self._returned if not one[1].assignment.closed]
            if self._chunk is not None and self._chunk.assignment.closed:
                self._chunk = None
        return dropped

    def _open_new(self, records: Sequence[KafkaRecord]) -> None:
        """Read the notes of newly assigned partitions, and write this worker's own.

        Where the broker does not answer, the records go on unguarded, and the next poll asks again.
        """
        for partition in self._tracker.take_went_back():
            self._begin_again(partition)
        if not self._unopened:
            return
        last = {TopicPartition(one.topic, one.partition): one.offset for one in records}
        opening = sorted(self._unopened & last.keys() & self._tracker.first_offsets().keys())
        if not opening:
            return
        try:
            found = self._consumer.committed(opening, _NOTES_TIMEOUT_SECONDS)
        except BackendUnavailableError as error:
            log_event("attempts_not_noted", logging.WARNING, problem=str(error))
            return
        first_offsets = self._tracker.first_offsets()
        for partition in opening:
            offset = found[partition]
            if offset is not None and offset > first_offsets[partition]:
                found[partition] = None  # it was committed of another log
        self._tracker.start_at({p: int(o) for p, o in found.items() if o is not None})
        lags = self._consumer.stats().lag_records
        for partition in opening:
            offset = found[partition]
            note = Note.parse("" if offset is None else metadata_of(offset))
            lag = lags.get(partition)
            self._open(partition, note, None if lag is None else last[partition] + 1 + lag)
        if self._delivery.commit_notes():
            self._unopened.difference_update(opening)
        self._report()

    def _open(self, partition: TopicPartition, found: Note, log_end: int | None) -> None:
        first = self._tracker.first_offsets()[partition]
        end = first + self._max_in_flight_records
        if log_end is not None:
            end = min(end, log_end)  # what came since then, the one before has not seen
        note = found.taken_over(self._worker, first, end).judged(max(self._max_attempts, 2))
        self._tracker.note(partition, note.text)
        if note.given_up:
            self._given_up[partition] = note.given_up
        if note.deaths or note.suspects is not None or note.given_up:
            # It may be there already, where a note could not be committed the time before.
            self._careful.setdefault(partition, _Partition(note)).note = note
            log_event(
                "careful_reading_started",
                logging.WARNING,
                partition=f"{partition.topic}-{partition.partition}",
                note=note.text,
            )

    def _begin_again(self, partition: TopicPartition) -> None:
        """Forget what is suspected of a log whose place another has taken."""
        self._given_up.pop(partition, None)
        self._timed_out.discard(partition)
        state = self._careful.pop(partition, None)
        if state is not None:
            for epoch, request in state.held:
                self._batcher.add([request], [], epoch)
        if self._max_attempts and partition not in self._unopened:
            self._tracker.note(partition, self._plain_note(partition).text)
        self._report()

    def _rejection(self, request: Request, *, timed_out: bool) -> Rejection:
        record = request.record
        reason = Reason.TIMED_OUT if timed_out else Reason.KILLED_WORKER
        log_event(
            "record_quarantined",
            logging.ERROR,
            partition=f"{record.topic}-{record.partition}",
            offset=record.offset,
            reason=reason.value,
        )
        times = f"at least {max(self._max_attempts, 2)} times in a row, at last alone"
        if timed_out:
            error: Exception = PredictTimeoutError(f"its prediction did not return {times}")
        else:
            error = WorkerKilledError(f"the worker that predicted it died {times}")
        return Rejection(request, reason, error)

    def _let_out_next(self) -> bool:
        """Let the next chunk out unless one is out already; False if there is none."""
        self._take_back()
        with self._changed:
            chunk = self._chunk
            if chunk is not None and chunk.unfinished > 0:
                return True
            self._chunk = None
        if chunk is not None:
            self._clear_suspects(chunk.assignment.partition)
        if self._clock() >= self._retry_at:
            positions = self._tracker.positions()
            for partition, state in list(self._careful.items()):
                if state.held:
                    if self._let_out(partition, state):
                        return True
                elif state.deaths(positions.get(partition, 0)) is None:
                    self._trust(partition, state)
        if chunk is not None:
            self._delivery.commit_notes()  # nothing follows that would say so
        return False

    def _wait_for_chunk(self, until: float) -> bool:
        """Wait until the chunk is predicted; False when it is time to poll."""
        with self._changed:
            # What hangs is not waited for at every turn.
            limit = min(until, self._chunk.started + 1.0) if self._chunk is not None else until
            return self._changed.wait_for(
                lambda: self._chunk is None or self._chunk.unfinished <= 0,
                max(limit - self._clock(), 0),
            )

    def _let_out(self, partition: TopicPartition, state: _Partition) -> bool:
        """Note a partition's next chunk and let it out; False if it is suspected no more."""
        deaths = state.deaths(state.held[0][1].record.offset)
        if deaths is None:
            self._trust(partition, state)
            return False
        requests = self._next_chunk(state, deaths)
        first, last = requests[0][1].record.offset, requests[-1][1].record.offset
        suspects = Suspects(first, last, deaths, state.alone(first, last))
        self._tracker.note(
            partition, replace(state.note, suspects=suspects, is_predicting=True).text
        )
        if not self._delivery.commit_notes():
            state.held.extendleft(reversed(requests))
            self._retry_at = self._clock() + _RETRY_SECONDS
            return True
        assignment = requests[0][1].assignment
        with self._changed:
            self._chunk = _Chunk(assignment, suspects, len(requests), self._clock())
        # The next one's turn comes first then.
        self._careful[partition] = self._careful.pop(partition)
        for epoch, request in requests:
            self._batcher.add([_as_suspect(request)], [], epoch)
        return True

    def _next_chunk(self, state: _Partition, deaths: int) -> list[tuple[int, Request]]:
        size = self._chunk_size(deaths)
        taken: list[tuple[int, Request]] = []
        while state.held and len(taken) < size:
            if state.deaths(state.held[0][1].record.offset) != deaths:
                break
            taken.append(state.held.popleft())
        return taken

    def _chunk_size(self, deaths: int) -> int:
        """Return how many records to try: one alone where the next death must be the last."""
        if deaths >= self._max_attempts - 1:
            return 1
        shrunk: int = FIRST_CHUNK_RECORDS // _CHUNK_SHRINKS_BY ** max(deaths - 1, 0)
        return max(shrunk, 2)

    def _trust(self, partition: TopicPartition, state: _Partition) -> None:
        """Go on as usual: all that may have been in flight at the death has been predicted."""
        del self._careful[partition]
        self._tracker.note(partition, self._plain_note(partition).text)
        for epoch, request in state.held:
            self._batcher.add([request], [], epoch)
        log_event("careful_reading_ended", partition=f"{partition.topic}-{partition.partition}")
        self._report()

    def _plain_note(self, partition: TopicPartition) -> Note:
        """Return the note of a partition of which nothing is suspected."""
        return Note(self._worker, given_up=self._given_up.get(partition, {}))

    def _clear_suspects(self, partition: TopicPartition) -> None:
        """Take back that a chunk is being predicted; a death from here on is not its fault."""
        state = self._careful.get(partition)
        if state is not None:
            self._tracker.note(partition, state.note.text)

    def _take_back(self) -> None:
        """Hold again what came back because its servable is not available."""
        with self._changed:
            returned, self._returned = self._returned, []
        if not returned:
            return
        self._retry_at = self._clock() + _RETRY_SECONDS
        for epoch, request in sorted(returned, key=lambda one: one[1].record.offset, reverse=True):
            state = self._careful.get(request.assignment.partition)
            if state is None:
                self._batcher.add([request], [], epoch)
            else:
                state.held.appendleft((epoch, request))

    def _report(self) -> None:
        self._metrics.careful_partitions.set(len(self._careful))


def _as_suspect(request: Request) -> Request:
    return replace_struct(request, route=replace_struct(request.route, is_suspect=True))


def _as_usual(request: Request) -> Request:
    return replace_struct(request, route=replace_struct(request.route, is_suspect=False))
