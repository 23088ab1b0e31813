from typing import Any, NamedTuple

import pytest
from kafka.protocol.metadata import FindCoordinatorRequest
from kafka.protocol.producer import (
    AddOffsetsToTxnRequest,
    AddPartitionsToTxnRequest,
    EndTxnRequest,
    InitProducerIdRequest,
    TxnOffsetCommitRequest,
)

from tests.support.kafka.port import eventually, unique
from tests.support.processes.stack import RawClient

INVALID_PRODUCER_EPOCH, PRODUCER_FENCED = 47, 90


class Zombie(NamedTuple):
    """A producer whose transactional id another has taken over, and what it might still ask."""

    transactional_id: str
    producer_id: int
    producer_epoch: int
    group_id: str
    topic: str

    def init_producer_id(self) -> Any:
        return InitProducerIdRequest(
            transactional_id=self.transactional_id,
            transaction_timeout_ms=60_000,
            producer_id=self.producer_id,
            producer_epoch=self.producer_epoch,
        )

    def add_partitions(self) -> Any:
        of_topic = AddPartitionsToTxnRequest.AddPartitionsToTxnTopic
        return AddPartitionsToTxnRequest(
            v3_and_below_transactional_id=self.transactional_id,
            v3_and_below_producer_id=self.producer_id,
            v3_and_below_producer_epoch=self.producer_epoch,
            v3_and_below_topics=[of_topic(name=self.topic, partitions=[0])],
        )

    def add_offsets(self) -> Any:
        return AddOffsetsToTxnRequest(
            transactional_id=self.transactional_id,
            producer_id=self.producer_id,
            producer_epoch=self.producer_epoch,
            group_id=self.group_id,
        )

    def commit_offsets(self) -> Any:
        of_topic = TxnOffsetCommitRequest.TxnOffsetCommitRequestTopic
        of_partition = of_topic.TxnOffsetCommitRequestPartition
        offset = of_partition(
            partition_index=0,
            committed_offset=1,
            committed_leader_epoch=-1,
            committed_metadata="",
        )
        return TxnOffsetCommitRequest(
            transactional_id=self.transactional_id,
            group_id=self.group_id,
            producer_id=self.producer_id,
            producer_epoch=self.producer_epoch,
            generation_id=-1,
            member_id="",
            group_instance_id=None,
            topics=[of_topic(name=self.topic, partitions=[offset])],
        )

    def end(self) -> Any:
        return EndTxnRequest(
            transactional_id=self.transactional_id,
            producer_id=self.producer_id,
            producer_epoch=self.producer_epoch,
            committed=True,
        )


def a_zombie(frames: RawClient, topic: str) -> Zombie:
    """Take a transactional id twice; the first to have had it is the zombie."""
    transactional_id, group_id = unique("transactions"), unique("group")
    wait_for_coordinators(frames, transactional_id, group_id)
    takes = InitProducerIdRequest(
        transactional_id=transactional_id,
        transaction_timeout_ms=60_000,
        producer_id=-1,
        producer_epoch=-1,
    )
    first, second = frames.ask(takes, 1), frames.ask(takes, 1)
    assert (first.error_code, second.error_code) == (0, 0)
    return Zombie(transactional_id, first.producer_id, first.producer_epoch, group_id, topic)


def wait_for_coordinators(frames: RawClient, transactional_id: str, group_id: str) -> None:
    """Wait until both are there; Apache Kafka makes their topics when they are first asked for."""

    def answers(key: str, key_type: int) -> bool:
        found = frames.ask(FindCoordinatorRequest(key=key, key_type=key_type), 2)
        return bool(found.error_code == 0)

    def initialised() -> bool:
        request = InitProducerIdRequest(
            transactional_id=transactional_id, transaction_timeout_ms=60_000
        )
        return bool(frames.ask(request, 1).error_code == 0)

    eventually(lambda: answers(group_id, 0) and answers(transactional_id, 1) and initialised())


@pytest.mark.parametrize(
    ("name", "version", "code"),
    [
        ("init_producer_id", 3, INVALID_PRODUCER_EPOCH),
        ("init_producer_id", 4, PRODUCER_FENCED),
        ("add_partitions", 1, INVALID_PRODUCER_EPOCH),
        ("add_partitions", 2, PRODUCER_FENCED),
        ("add_offsets", 1, INVALID_PRODUCER_EPOCH),
        ("add_offsets", 2, PRODUCER_FENCED),
        ("commit_offsets", 2, INVALID_PRODUCER_EPOCH),
        ("commit_offsets", 3, INVALID_PRODUCER_EPOCH),
        ("end", 1, INVALID_PRODUCER_EPOCH),
        ("end", 2, PRODUCER_FENCED),
    ],
)
def test_a_fenced_producer_is_told_so_in_its_version(
    frames: RawClient, topic_of_two: str, name: str, version: int, code: int
) -> None:
    """PRODUCER_FENCED came with KIP-588: older clients know an invalid epoch only."""
    zombie = a_zombie(frames, topic_of_two)

    answer = frames.ask(getattr(zombie, name)(), version)

    assert error_code(answer) == code


def error_code(answer: Any) -> int:
    """Return the error of a response, which those about partitions have with the partition."""
    if hasattr(answer, "results_by_topic_v3_and_below"):
        (result,) = answer.results_by_topic_v3_and_below[0].results_by_partition
        return int(result.partition_error_code)
    if hasattr(answer, "topics"):
        return int(answer.topics[0].partitions[0].error_code)
    return int(answer.error_code)
