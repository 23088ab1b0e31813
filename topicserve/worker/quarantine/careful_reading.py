"""Reads partitions carefully: chunk by chunk, each noted before it is predicted."""

import logging
from collections.abc import Callable
from typing import Protocol

from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.quarantine.careful_partition import CarefulPartition
from topicserve.worker.quarantine.chunk import ChunkInFlight, as_suspect
from topicserve.worker.quarantine.note import Note
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.stages.batch import Gathers
from topicserve.worker.stages.request import Polled
from topicserve.worker.telemetry.logging import log_event

_RETRY_SECONDS = 1.0


class CommitsNotes(Protocol):
    """What the quarantine asks of the delivery."""

    def commit_notes(self) -> bool:
        """Commit the notes that changed; False where the broker did not take them."""


class CarefulReading:
    """Lets requests of suspected partitions out, one chunk of one partition at a time.

    The polling thread owns it, and commits a note before each chunk: that blocks for the broker's
    answer. Batch threads tell `chunk` what they predicted and what comes back.
    """

    def __init__(
        self,
        environment: Environment,
        tracker: OffsetTracker,
        batcher: Gathers,
        delivery: CommitsNotes,
        plain_note: Callable[[TopicPartition], Note],
    ) -> None:
        """`plain_note` returns the note of a partition of which nothing is suspected."""
        self._tracker = tracker
        self._batcher = batcher
        self._delivery = delivery
        self._plain_note = plain_note
        self._max_attempts = environment.config.delivery.max_attempts
        self._metrics = environment.metrics
        self._clock = environment.clock
        self.chunk = ChunkInFlight(self._clock)
        self._partitions: dict[TopicPartition, CarefulPartition] = {}
        self._retry_at = 0.0

    def __bool__(self) -> bool:
        """Return whether any partition is read carefully."""
        return bool(self._partitions)

    def of(self, partition: TopicPartition) -> CarefulPartition | None:
        """Return a partition that is read carefully; None if it is not."""
        return self._partitions.get(partition)

    def start(self, partition: TopicPartition, note: Note) -> None:
        """Read a partition carefully, from now on."""
        # It may be there already, where a note could not be committed the time before.
        self._partitions.setdefault(partition, CarefulPartition(note)).note = note
        log_event(
            "careful_reading_started",
            logging.WARNING,
            partition=f"{partition.topic}-{partition.partition}",
            note=note.text,
        )
        self._report()

    def forget(self, partition: TopicPartition) -> None:
        """Forget a partition that is gone, with what is held of it."""
        self._partitions.pop(partition, None)
        self._report()

    def release(self, partition: TopicPartition) -> None:
        """Read a partition as usual again; what was held of it is predicted."""
        state = self._partitions.pop(partition, None)
        for epoch, request in () if state is None else state.held:
            self._batcher.add([request], [], epoch)
        self._report()

    def step(self, seconds: float) -> None:
        """Let chunks out, for a moment."""
        until = self._clock() + seconds
        while self._let_out_next() and self.chunk.wait(until):
            pass

    def full(self) -> list[TopicPartition]:
        """Return the partitions of which enough is held: no more of them is to be polled."""
        return [partition for partition, state in self._partitions.items() if state.is_full]

    def drop_revoked(self) -> list[Polled]:
        """Take out and return the held requests whose partitions are no longer ours."""
        dropped = [one for state in self._partitions.values() for one in state.drop_revoked()]
        return dropped + self.chunk.drop_revoked()

    def _let_out_next(self) -> bool:
        """Let the next chunk out unless one is out already; False if there is none."""
        self._take_back()
        if self.chunk.is_predicting:
            return True
        finished = self.chunk.take_finished()
        if finished is not None:
            self._clear_suspects(finished)
        if self._clock() >= self._retry_at:
            positions = self._tracker.reading.positions()
            for partition, state in list(self._partitions.items()):
                if state.held:
                    if self._let_out(partition, state):
                        return True
                elif state.deaths(positions.get(partition, 0)) is None:
                    self._trust(partition)
        if finished is not None:
            self._delivery.commit_notes()  # nothing follows that would say so
        return False

    def _let_out(self, partition: TopicPartition, state: CarefulPartition) -> bool:
        """Note a partition's next chunk and let it out; False if it is suspected no more."""
        requests = state.next_chunk(self._max_attempts)
        if not requests:
            self._trust(partition)
            return False
        first, last = requests[0][1].record.offset, requests[-1][1].record.offset
        self._tracker.commits.note(partition, state.noted(first, last).text)
        if not self._delivery.commit_notes():
            # Until it is let out it is not being predicted, and others may be let out before.
            self._tracker.commits.note(partition, state.note.text)
            state.held.extendleft(reversed(requests))
            self._retry_at = self._clock() + _RETRY_SECONDS
            return True
        self.chunk.start(requests[0][1].assignment, len(requests))
        # The next one's turn comes first then.
        self._partitions[partition] = self._partitions.pop(partition)
        for epoch, request in requests:
            self._batcher.add([as_suspect(request)], [], epoch)
        return True

    def _trust(self, partition: TopicPartition) -> None:
        """Go on as usual: all that may have been in flight at the death has been predicted."""
        self._tracker.commits.note(partition, self._plain_note(partition).text)
        self.release(partition)
        log_event("careful_reading_ended", partition=f"{partition.topic}-{partition.partition}")

    def _clear_suspects(self, partition: TopicPartition) -> None:
        """Take back that a chunk is being predicted; a death from here on is not its fault."""
        state = self._partitions.get(partition)
        if state is not None:
            self._tracker.commits.note(partition, state.note.text)

    def _take_back(self) -> None:
        """Hold again what came back because its servable is not available."""
        returned = self.chunk.take_returned()
        if not returned:
            return
        self._retry_at = self._clock() + _RETRY_SECONDS
        for epoch, request in returned:
            state = self._partitions.get(request.assignment.partition)
            if state is None:
                self._batcher.add([request], [], epoch)
            else:
                state.held.appendleft((epoch, request))

    def _report(self) -> None:
        self._metrics.careful_partitions.set(len(self._partitions))
