from typing import Any

import pytest
from kafka.protocol.consumer import FetchRequest
from kafka.protocol.producer import ProduceRequest
from kafka.record import MemoryRecords

from tests.support.kafka.port import eventually
from tests.support.kafka.record_batches import a_payload
from tests.support.processes.stack import RawClient

PARTITIONS = 2
BATCHES = 10
BATCH_BYTES = len(a_payload([b"x" * 10_000]))


def fill(frames: RawClient, topic: str) -> None:
    """Write batches of one record of 10,000 bytes each into all partitions."""
    of_topic = ProduceRequest.TopicProduceData
    of_partition = of_topic.PartitionProduceData
    data = [
        of_partition(index=index, records=a_payload([b"x" * 10_000])) for index in range(PARTITIONS)
    ]
    request = ProduceRequest(
        transactional_id=None,
        acks=-1,
        timeout_ms=30_000,
        topic_data=[of_topic(name=topic, partition_data=data)],
    )
    eventually(lambda: leads(frames, topic))
    for _ in range(BATCHES):
        (written,) = frames.ask(request, 7).responses
        assert [answer.error_code for answer in written.partition_responses] == [0] * PARTITIONS


def leads(frames: RawClient, topic: str) -> bool:
    """Tell whether the broker has become the leader of all partitions of a new topic."""
    return all(answer.error_code == 0 for answer in ask_to_fetch(frames, topic, 1, 1))


def ask_to_fetch(
    frames: RawClient, topic: str, max_bytes: int, partition_max_bytes: int
) -> list[Any]:
    """Return what one fetch is answered about each partition."""
    partition = FetchRequest.FetchTopic.FetchPartition
    wanted = [
        partition(
            partition=index,
            current_leader_epoch=-1,
            fetch_offset=0,
            log_start_offset=-1,
            partition_max_bytes=partition_max_bytes,
        )
        for index in range(PARTITIONS)
    ]
    request = FetchRequest(
        replica_id=-1,
        max_wait_ms=0,
        min_bytes=0,
        max_bytes=max_bytes,
        isolation_level=0,
        session_id=0,
        session_epoch=-1,
        topics=[FetchRequest.FetchTopic(topic=topic, partitions=wanted)],
        forgotten_topics_data=[],
        rack_id="",
    )
    return list(frames.ask(request, 11).responses[0].partitions)


def whole_batches(records: bytes) -> list[int]:
    """Return the sizes of the batches that are whole.

    A broker may cut the last one off where a limit ends; clients leave such a rest alone.
    """
    batches = MemoryRecords(records)
    sizes = []
    while batches.has_next():
        sizes.append(batches.next_batch().size_in_bytes)
    return sizes


@pytest.mark.parametrize(
    ("max_bytes", "partition_max_bytes", "batches"),
    [
        (1_000_000, 1_000_000, [10, 10]),
        (1_000_000, 3 * BATCH_BYTES, [3, 3]),
        (1_000_000, 3 * BATCH_BYTES - 1, [2, 2]),
        (4 * BATCH_BYTES, 3 * BATCH_BYTES, [3, 1]),
        (1_000_000, 100, [1, 0]),
        (100, 1_000_000, [1, 0]),
    ],
    ids=[
        "no-limit-reached",
        "of-a-partition",
        "one-byte-less",
        "of-the-whole",
        "a-partition-less-than-a-batch",
        "the-whole-less-than-a-batch",
    ],
)
def test_fetch_size_limits_are_honoured(
    frames: RawClient,
    topic_of_two: str,
    max_bytes: int,
    partition_max_bytes: int,
    batches: list[int],
) -> None:
    """An answer is within both limits, but its first batch always comes (KIP-74)."""
    fill(frames, topic_of_two)

    answers = ask_to_fetch(frames, topic_of_two, max_bytes, partition_max_bytes)

    found = [answer.records or b"" for answer in answers]
    assert sum(map(len, found)) <= max(max_bytes, BATCH_BYTES)
    assert [whole_batches(records) for records in found] == [
        [BATCH_BYTES] * count for count in batches
    ]
