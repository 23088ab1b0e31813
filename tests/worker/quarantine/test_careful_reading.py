"""What the notes say of each chunk, while transactions are started over."""

import pytest

from tests.support.stages.environments import an_environment
from tests.support.stages.records import ManualClock, a_kafka_record, a_request
from topicserve.backends.broker import metadata_of
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.quarantine.careful_reading import CarefulReading
from topicserve.worker.quarantine.note import Note
from topicserve.worker.stages.request import Batch, Polled, Rejection, Request

FIRST, SECOND = TopicPartition("in", 0), TopicPartition("in", 1)


class Gathered:
    """Keeps what is let out, as the batcher does until a batch thread takes it."""

    def __init__(self) -> None:
        self.requests: list[Request] = []

    def add(self, requests: list[Request], rejections: list[Rejection], epoch: int) -> None:  # noqa: ARG002
        self.requests += requests

    def add_again(self, requests: list[Request], epoch: int) -> None:
        raise NotImplementedError

    def drop_revoked(self) -> list[Polled]:
        return []

    def take(self) -> Batch:
        """Return what was let out last, as a batch thread takes it."""
        request = self.requests.pop()
        return Batch(request.route, 0, [request], [], 0, 0.0)


class World:
    """Two partitions that are read carefully, of one suspect each."""

    def __init__(self) -> None:
        self.accepts = True
        self.committed: dict[TopicPartition, str] = {}
        self.tracker = OffsetTracker()
        self.tracker.assign([FIRST, SECOND])
        self.gathered = Gathered()
        self.clock = ManualClock()
        self.reading = CarefulReading(
            an_environment(clock=self.clock),
            self.tracker,
            self.gathered,  # type: ignore[arg-type]  # lists are what it is given
            self,
            lambda _: Note("me"),
        )
        note = Note("me", deaths=2, until=10)
        for partition in (FIRST, SECOND):
            self.reading.start(partition, note)
            self.tracker.commits.note(partition, note.text)
            self.poll(partition)
        self.commit_notes()

    def poll(self, partition: TopicPartition) -> None:
        """Poll a partition's record, and hold it back."""
        record = a_kafka_record(0, partition=partition.partition)
        (assignment,) = self.tracker.track([record])
        state = self.reading.of(partition)
        assert state is not None
        state.held.append((0, a_request(offset=0, assignment=assignment)))

    def commit_notes(self) -> bool:
        """See CommitsNotes; the broker takes them or not."""
        if self.accepts:
            offsets = self.tracker.commits.committable_notes()
            self.committed |= {p: metadata_of(offset) for p, offset in offsets.items()}
            self.tracker.commits.committed(offsets)
        return self.accepts

    def start_over(self) -> None:
        """Abort a transaction: all records are polled again, the second partition's first."""
        self.tracker.restart()
        self.tracker.finish(self.reading.drop_revoked())
        self.gathered.requests.clear()
        self.poll(SECOND)

    def step(self) -> None:
        """Let out the next chunk."""
        self.clock.advance(2.0)
        self.reading.step(0.0)

    def predicting(self) -> set[TopicPartition]:
        """Return the partitions whose committed notes say that a record is being predicted."""
        return {
            partition for partition, text in self.committed.items() if text.endswith("predicting")
        }


@pytest.fixture
def world() -> World:
    """Give two partitions that are read carefully."""
    return World()


def test_a_chunk_whose_note_was_not_committed_is_not_being_predicted(world: World) -> None:
    """The abort that refused its note drops it, and another one is let out first."""
    world.accepts = False
    world.step()
    world.accepts = True

    world.start_over()
    world.step()

    assert world.predicting() == {SECOND}


def test_a_chunk_that_was_predicted_before_an_abort_is_predicted_no_more(world: World) -> None:
    """Its note is taken back before another one is let out."""
    world.step()
    batch = world.gathered.take()
    world.reading.chunk.begins(batch)
    world.reading.chunk.survived(batch)

    world.start_over()
    world.step()

    assert world.predicting() == {SECOND}


def test_a_chunk_that_an_abort_dropped_unpredicted_is_not_being_predicted(world: World) -> None:
    """It waited for a batch thread, and is polled again."""
    world.step()

    world.start_over()
    world.step()

    assert world.predicting() == {SECOND}


def test_no_other_chunk_is_let_out_beside_one_that_is_still_predicted(world: World) -> None:
    """It may yet end this worker, whatever became of its transaction."""
    world.step()
    batch = world.gathered.take()
    world.reading.chunk.begins(batch)

    world.start_over()
    world.step()
    assert world.predicting() == {FIRST}

    world.reading.chunk.survived(batch)
    world.step()
    assert world.predicting() == {SECOND}
