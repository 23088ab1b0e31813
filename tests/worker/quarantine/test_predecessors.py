"""Notes of the workers before, read with a partition's first records."""

from tests.support.kafka.kafka_doubles import MemoryConsumer, MemoryLog
from tests.support.stages.records import a_kafka_record
from topicserve.backends.broker import OffsetAndMetadata
from topicserve.backends.errors import BackendUnavailableError
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.quarantine.predecessors import PredecessorNotes

PARTITION = TopicPartition("in", 0)
OTHER = TopicPartition("in", 1)


class Consumer(MemoryConsumer):
    """A consumer whose broker may be away."""

    is_away = False

    def committed(self, *arguments: object) -> dict[TopicPartition, int | None]:
        if self.is_away:
            raise BackendUnavailableError("away")
        return super().committed(*arguments)  # type: ignore[arg-type]


class World:
    """Two assigned partitions, whose last worker died."""

    def __init__(self) -> None:
        self.consumer = Consumer(MemoryLog())
        self.tracker = OffsetTracker()
        self.notes = PredecessorNotes(self.consumer, self.tracker, "new", 1000)
        self.tracker.assign([PARTITION, OTHER])
        self.notes.assigned([PARTITION, OTHER])
        for partition in (PARTITION, OTHER):
            note = OffsetAndMetadata(2, "topicserve1 working=old")
            self.consumer.log.committed[partition] = note

    def poll(self, offset: int) -> None:
        """Poll one record of the first partition."""
        self.tracker.track([a_kafka_record(offset)])
        self.notes.started(self.tracker.take_started())


def test_a_note_is_read_once_with_the_first_records() -> None:
    """A partition without records waits, and costs later polls nothing."""
    world = World()
    assert not world.notes.is_due

    world.poll(2)
    found = world.notes.read()
    world.notes.done(found)
    world.poll(3)

    assert {p: (note.worker, note.deaths) for p, note in found.items()} == {PARTITION: ("new", 1)}
    assert not world.notes.is_due
    assert world.notes.is_unread(OTHER)


def test_a_note_that_could_not_be_read_stays_due() -> None:
    """It is read with the next records, whichever partition they are of."""
    world = World()
    world.consumer.is_away = True
    world.poll(2)
    assert world.notes.read() == {}

    world.consumer.is_away = False

    assert world.notes.is_due
    assert world.notes.read().keys() == {PARTITION}


def test_what_came_since_the_death_is_not_suspected() -> None:
    """The worker before has not seen what lies behind the log's end."""
    world = World()
    world.poll(2)
    world.consumer.lag_records = {PARTITION: 7}

    (note,) = world.notes.read().values()

    assert note.until == 10


def test_a_note_behind_the_first_record_is_of_another_log() -> None:
    """The topic was created again: nothing of it is suspected."""
    world = World()
    world.poll(0)

    (note,) = world.notes.read().values()

    assert (note.worker, note.deaths) == ("new", 0)
