from functools import partial

import pytest
from prometheus_client import CollectorRegistry

from tests.support.kafka.port import Port, eventually, unique
from tests.support.stages.deliveries import Deliveries
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord, TopicPartition
from topicserve.worker.delivery.exactly_once import ExactlyOnce
from topicserve.worker.stages.publish import OutgoingBatch
from topicserve.worker.stages.request import Polled

REPEATS = 20
LIMIT = 30.0


@pytest.mark.parametrize("broker_name", ["embedded"], indirect=True)
def test_every_record_gets_a_result_or_a_dead_letter(port: Port) -> None:
    """A good one, one whose result is too large, a good one: 20 times, and none is left out."""
    topic, output, dead = (port.topic(partitions=1) for _ in range(3))
    member = port.member(topic)
    member.poll_until(lambda: member.assigned)
    world = Deliveries(CollectorRegistry(), dead_letter_topic=dead)
    world.context.consumer = member.consumer
    world.context.producer = port.producer({"transactional.id": unique("outcomes")})
    world.delivery = delivery = ExactlyOnce(world.context)
    delivery.start(LIMIT)
    world.context.tracker.assign([TopicPartition(topic, 0)])

    for first in range(0, 3 * REPEATS, 3):
        publish(world, topic, output, first)
        eventually(partial(committed, world, topic, output, first))

    settings = {"isolation.level": "read_committed"}
    results = port.member(output, settings=settings).read(2 * REPEATS)
    letters = port.member(dead, settings=settings).read(REPEATS)
    assert sorted(int(record.key or b"") for record in [*results, *letters]) == [
        *range(3 * REPEATS)
    ]
    assert world.environment.fatal.error is None
    delivery.close(5)


def publish(world: Deliveries, topic: str, output: str, first: int) -> None:
    """Publish three outcomes as one batch, the second too large."""
    records = [
        KafkaRecord(topic, 0, offset, 0, b"%d" % offset, b"{}", [])
        for offset in range(first, first + 3)
    ]
    assignments = world.context.tracker.track(records)
    epoch = world.delivery.admit(len(records))
    outgoing = OutgoingBatch("digits", 1)
    for record, assignment in zip(records, assignments, strict=True):
        assert assignment is not None
        value = b"x" * (2_000_000 if record.offset == first + 1 else 10)
        outgoing.add(
            Polled(record, assignment, 0, 0.0), OutgoingRecord(output, record.key, value), None
        )
    world.delivery.publish(epoch, outgoing)
    world.commit_when_due()


def committed(world: Deliveries, topic: str, output: str, first: int) -> bool:
    """Return whether the batch is committed; do it again if its transaction was aborted."""
    aborted = world.count("topicserve_transactions_total", outcome="aborted")
    world.delivery.tick()
    if world.count("topicserve_transactions_total", outcome="aborted") > aborted:
        publish(world, topic, output, first)
    return world.context.tracker.commits.count > first // 3
