"""OffsetCommit and OffsetFetch; the transactions' handler reads offsets with the same functions."""

from collections import defaultdict
from collections.abc import Iterable
from types import SimpleNamespace as Struct
from typing import Any

from kafka.protocol.consumer import OffsetCommitResponse, OffsetFetchResponse

from topicserve.embedded.broker.api import ClientInfo, Response
from topicserve.embedded.broker.broker import EmbeddedBroker
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.groups import CommittedOffset, TopicPartition

_MAX_METADATA_BYTES = 4096  # Kafka's offset.metadata.max.bytes
_FIRST_WITH_SEVERAL_GROUPS = 8
_NONE_COMMITTED = CommittedOffset(-1, -1, "")


def offset_commit(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Keep a group's offsets."""
    refused = ErrorCode.NONE
    try:
        broker.groups.peek(request.group_id).check_commit(
            request.member_id, request.group_instance_id, request.generation_id_or_member_epoch
        )
    except KafkaError as error:
        refused = error.code
    offsets, codes = read_offsets(broker, request.topics, refused)
    broker.groups.commit(request.group_id, offsets)
    return OffsetCommitResponse(throttle_time_ms=0, topics=offset_answers(request.topics, codes))


def offset_fetch(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Return what groups have committed, all of it where no partitions are named."""
    stable = request.require_stable
    if request.API_VERSION < _FIRST_WITH_SEVERAL_GROUPS:
        topics = _fetch(broker, request.group_id, request.topics, stable=stable)
        return OffsetFetchResponse(throttle_time_ms=0, error_code=ErrorCode.NONE, topics=topics)
    groups = [
        Struct(
            group_id=wanted.group_id,
            topics=_fetch(broker, wanted.group_id, wanted.topics, stable=stable),
            error_code=ErrorCode.NONE,
        )
        for wanted in request.groups
    ]
    return OffsetFetchResponse(throttle_time_ms=0, groups=groups)


def read_offsets(
    broker: EmbeddedBroker, topics: Any, refused: ErrorCode
) -> tuple[dict[TopicPartition, CommittedOffset], dict[TopicPartition, ErrorCode]]:
    """Return the offsets to commit, and each partition's error where all are refused or one is."""
    offsets: dict[TopicPartition, CommittedOffset] = {}
    codes: dict[TopicPartition, ErrorCode] = {}
    for topic in topics:
        for told in topic.partitions:
            place = (topic.name, told.partition_index)
            codes[place] = refused or _check(broker, place, told)
            if codes[place] == ErrorCode.NONE:
                offsets[place] = CommittedOffset(
                    told.committed_offset,
                    told.committed_leader_epoch,
                    told.committed_metadata or "",
                )
    return offsets, codes


def offset_answers(topics: Any, codes: dict[TopicPartition, ErrorCode]) -> list[Struct]:
    """Return the answer to each partition's offset, in the order told."""
    return [
        Struct(
            name=topic.name,
            partitions=[
                Struct(
                    partition_index=told.partition_index,
                    error_code=codes[topic.name, told.partition_index],
                )
                for told in topic.partitions
            ],
        )
        for topic in topics
    ]


def _check(broker: EmbeddedBroker, place: TopicPartition, told: Any) -> ErrorCode:
    try:
        broker.topics.partition(*place)
    except KafkaError as error:
        return error.code
    if len(told.committed_metadata or "") > _MAX_METADATA_BYTES:
        return ErrorCode.OFFSET_METADATA_TOO_LARGE
    return ErrorCode.NONE


def _fetch(broker: EmbeddedBroker, group_id: str, topics: Any, *, stable: bool) -> list[Struct]:
    committed = broker.groups.offsets(group_id)
    pending = broker.transactions.pending_offsets(group_id) if stable else ()
    by_topic: dict[str, list[Struct]] = defaultdict(list)
    for topic, index in _wanted(topics, committed):
        found = committed.get((topic, index), _NONE_COMMITTED)
        unstable = (topic, index) in pending
        by_topic[topic].append(
            Struct(
                partition_index=index,
                committed_offset=-1 if unstable else found.offset,
                committed_leader_epoch=found.leader_epoch,
                metadata=found.metadata,
                error_code=ErrorCode.UNSTABLE_OFFSET_COMMIT if unstable else ErrorCode.NONE,
            )
        )
    return [Struct(name=topic, partitions=partitions) for topic, partitions in by_topic.items()]


def _wanted(topics: Any, committed: Iterable[TopicPartition]) -> list[TopicPartition]:
    if topics is None:
        return list(committed)
    return [(topic.name, index) for topic in topics for index in topic.partition_indexes]
