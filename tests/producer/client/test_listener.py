from tests.support.kafka.kafka_doubles import MemoryConsumer, MemoryLog
from topicserve.backends.broker import Offsets
from topicserve.backends.errors import BackendUnavailableError
from topicserve.producer.client.listener import _Positions
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition

OLD, NEW = TopicPartition("results", 0), TopicPartition("results", 1)


def records(partition: TopicPartition, *offsets: int) -> list[KafkaRecord]:
    """Return records at these offsets."""
    return [KafkaRecord(*partition, offset, 0, None, b"", []) for offset in offsets]


class RefusingConsumer(MemoryConsumer):
    """Refuses to seek at first, as librdkafka does until it fetches a partition."""

    def __init__(self) -> None:
        super().__init__(MemoryLog())
        self.refusals = 1
        self.sought: list[Offsets] = []

    def seek(self, offsets: Offsets) -> None:
        if self.refusals:
            self.refusals -= 1
            raise BackendUnavailableError("erroneous state")
        self.sought.append(offsets)


def test_what_is_before_the_start_is_left_out_until_the_seek() -> None:
    """It is sought again at each poll until the client does it."""
    consumer, positions = RefusingConsumer(), _Positions({OLD: 5})
    positions.on_assigned([OLD])

    assert positions.wanted(consumer, records(OLD, 0, 1)) == []
    assert positions.wanted(consumer, records(OLD, 2)) == []
    assert positions.wanted(consumer, records(OLD, 5)) == records(OLD, 5)
    assert consumer.sought == [{OLD: 5}]


def test_it_has_begun_once_every_assigned_partition_is_sought() -> None:
    """Before that a request would wait for the group."""
    consumer, positions = RefusingConsumer(), _Positions({OLD: 5})
    assert not positions.are_begun

    positions.on_assigned([OLD])
    positions.wanted(consumer, [])
    assert not positions.are_begun
    positions.wanted(consumer, [])
    assert positions.are_begun

    positions.begin_again()
    assert not positions.are_begun


def test_a_partition_that_is_added_later_is_read_from_its_beginning() -> None:
    """Results may have come to it before it was noticed."""
    consumer, positions = RefusingConsumer(), _Positions({OLD: 5})
    positions.on_assigned([NEW])

    assert positions.wanted(consumer, records(NEW, 0)) == records(NEW, 0)
    assert consumer.sought == []


def test_a_partition_that_comes_back_is_read_on_where_it_was() -> None:
    """A group that is formed again has no committed offsets."""
    consumer, positions = RefusingConsumer(), _Positions({OLD: 5})
    consumer.refusals = 0
    positions.on_assigned([OLD])
    positions.wanted(consumer, [])
    positions.wanted(consumer, records(OLD, 5, 6))

    assert positions.on_revoked([OLD]) == {}
    positions.on_assigned([OLD])
    positions.wanted(consumer, [])

    assert consumer.sought == [{OLD: 5}, {OLD: 7}]
