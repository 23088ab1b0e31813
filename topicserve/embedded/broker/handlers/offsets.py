"""ListOffsets: a partition's start, its end, and the first offset at a time."""

from types import SimpleNamespace as Struct
from typing import Any

from kafka.protocol.consumer import ListOffsetsResponse

from topicserve.embedded.broker.api import ClientInfo, Response
from topicserve.embedded.broker.broker import EmbeddedBroker
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.log.partition import Partition

_LATEST, _EARLIEST, _MAX_TIMESTAMP, _EARLIEST_LOCAL = -1, -2, -3, -4
_NOT_FOUND = (-1, -1)


def list_offsets(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Return the first or last offset, or the first that is not older than a time."""
    committed = request.isolation_level == 1
    topics = [
        Struct(
            name=topic.name,
            partitions=[
                _list(broker, topic.name, wanted, committed=committed)
                for wanted in topic.partitions
            ],
        )
        for topic in request.topics
    ]
    return ListOffsetsResponse(throttle_time_ms=0, topics=topics)


def _list(broker: EmbeddedBroker, topic: str, wanted: Any, *, committed: bool) -> Struct:
    code, found = ErrorCode.NONE, _NOT_FOUND
    try:
        partition = broker.topics.partition(topic, wanted.partition_index)
        found = _find(partition, wanted.timestamp, committed=committed)
    except KafkaError as error:
        code = error.code
    offset, timestamp = found
    return Struct(
        partition_index=wanted.partition_index,
        error_code=code,
        timestamp=timestamp,
        offset=offset,
        leader_epoch=0 if offset >= 0 else -1,
    )


def _find(partition: Partition, timestamp: int, *, committed: bool) -> tuple[int, int]:
    if timestamp == _LATEST:
        end = partition.last_stable_offset if committed else partition.end_offset
        return end, -1
    if timestamp in (_EARLIEST, _EARLIEST_LOCAL):
        return partition.log_start_offset, -1
    wanted = partition.newest_timestamp() if timestamp == _MAX_TIMESTAMP else timestamp
    if wanted is None:
        return _NOT_FOUND
    return partition.find_time(wanted) or _NOT_FOUND
