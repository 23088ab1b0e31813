"""Produce, Fetch, ListOffsets, DeleteRecords: records in and out."""

import asyncio
from typing import Any

from kafka.protocol.admin import DeleteRecordsResponse
from kafka.protocol.consumer import FetchResponse, ListOffsetsResponse
from kafka.protocol.producer import ProduceResponse
from kafka.record import MemoryRecords

from topicserve.embedded.kafka_broker.context import Broker, Caller
from topicserve.embedded.kafka_broker.error_codes import Code
from topicserve.embedded.kafka_broker.partition_log import PartitionLog
from topicserve.embedded.kafka_broker.record_batch import (
    BatchHeader,
    CorruptBatchError,
    check,
    read_header,
)

_LATEST, _EARLIEST, _MAX_TIMESTAMP = -1, -2, -3
_MAGIC = 2


def produce(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Append batches; answers nothing where no acknowledgement is wanted."""
    bad_acks = request.acks not in (-1, 0, 1)
    responses = []
    for topic in request.topic_data:
        partitions = []
        for data in topic.partition_data:
            where = (topic.name, data.index)
            answer: tuple[Code, int] = (Code.INVALID_REQUIRED_ACKS, -1)
            if not bad_acks:
                answer = _append(broker, where, data.records, request.transactional_id)
            log = broker.topics.partition(*where)
            partitions.append(
                ProduceResponse.TopicProduceResponse.PartitionProduceResponse(
                    index=data.index,
                    error_code=answer[0],
                    base_offset=answer[1],
                    log_append_time_ms=-1,
                    log_start_offset=log.start_offset if log is not None else -1,
                    record_errors=[],
                    error_message=None,
                )
            )
        responses.append(
            ProduceResponse.TopicProduceResponse(name=topic.name, partition_responses=partitions)
        )
    if request.acks == 0:
        return None
    return ProduceResponse(responses=responses, throttle_time_ms=0)


def _append(
    broker: Broker, where: tuple[str, int], records: Any, transactional_id: str | None
) -> tuple[Code, int]:
    topic = broker.topics.get(where[0])
    log = broker.topics.partition(*where)
    if topic is None or log is None:
        return Code.UNKNOWN_TOPIC_OR_PARTITION, -1
    data = memoryview(records or b"")
    if len(data) > broker.topics.max_bytes(topic):
        return Code.MESSAGE_TOO_LARGE, -1
    try:
        batches = _read_batches(data)
    except CorruptBatchError:
        return Code.CORRUPT_MESSAGE, -1
    first = -1
    for start, header in batches:
        error = _check(broker, header, where, transactional_id)
        if error is not Code.NONE:
            return error, -1
        known = log.check_sequence(header)
        if isinstance(known, Code):
            return known, -1
        offset = known
        if offset is None:
            offset = log.append(header, data[start : start + header.size_bytes])
        first = offset if first < 0 else first
    return Code.NONE, first


def _read_batches(data: memoryview) -> list[tuple[int, BatchHeader]]:
    """Return every batch's start and header, all of them checked before any is appended."""
    batches: list[tuple[int, BatchHeader]] = []
    position = 0
    if len(data) > 16 and data[16] != _MAGIC:
        return [(0, read_header(data)._replace(magic=data[16]))]
    while position < len(data) or not batches:
        header = read_header(data, position)
        check(data, position, header)
        if header.record_count == 0 or header.is_control:
            raise CorruptBatchError("producers send records, and no end markers")
        batches.append((position, header))
        position += header.size_bytes
    return batches


def _check(
    broker: Broker, header: BatchHeader, where: tuple[str, int], transactional_id: str | None
) -> Code:
    if header.magic != _MAGIC:
        return Code.UNSUPPORTED_FOR_MESSAGE_FORMAT
    if header.is_transactional:
        return broker.transactions.check_produce(
            transactional_id, header.producer_id, header.producer_epoch, where
        )
    return broker.transactions.check_epoch(header.producer_id, header.producer_epoch)


async def fetch(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Return batches, waiting for the first to come where there are none."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + request.max_wait_ms / 1000
    while True:
        response, size_bytes, urgent = _read_all(broker, request)
        wait_seconds = deadline - loop.time()
        enough = size_bytes >= max(request.min_bytes, 1)
        if urgent or enough or wait_seconds <= 0 or not request.topics:
            return response
        await _wait_for_records(broker, request, wait_seconds)


async def _wait_for_records(broker: Broker, request: Any, wait_seconds: float) -> None:
    woken = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not woken.done():
            woken.set_result(None)

    logs = [
        log
        for topic in request.topics
        for wanted in topic.partitions
        if (log := broker.topics.partition(topic.topic, wanted.partition)) is not None
    ]
    for log in logs:
        log.wait(woken, wake)
    try:
        await asyncio.wait([woken], timeout=wait_seconds)
    finally:
        for log in logs:
            log.forget(woken)


def _read_all(broker: Broker, request: Any) -> tuple[Any, int, bool]:
    """Return the response, the bytes in it, and whether it holds what must not wait (an error)."""
    responses, total, urgent = [], 0, False
    for topic in request.topics:
        partitions = []
        for wanted in topic.partitions:
            log = broker.topics.partition(topic.topic, wanted.partition)
            if log is None:
                answer = _partition(wanted, Code.UNKNOWN_TOPIC_OR_PARTITION, None)
                urgent = True
            elif not log.start_offset <= wanted.fetch_offset <= log.end_offset:
                answer = _partition(wanted, Code.OFFSET_OUT_OF_RANGE, log)
                urgent = True
            else:
                answer, size = _read(log, wanted, request, total)
                total += size
            partitions.append(answer)
        responses.append(
            FetchResponse.FetchableTopicResponse(topic=topic.topic, partitions=partitions)
        )
    response = FetchResponse(
        throttle_time_ms=0, error_code=Code.NONE, session_id=0, responses=responses
    )
    return response, total, urgent


def _read(log: PartitionLog, wanted: Any, request: Any, total: int) -> tuple[Any, int]:
    committed_only = request.isolation_level == 1
    limit = log.last_stable_offset if committed_only else log.end_offset
    room = min(wanted.partition_max_bytes, request.max_bytes - total)
    batches, last = log.read(wanted.fetch_offset, limit, room, at_least_one=total == 0)
    records = b"".join(batches)
    aborted = None
    if committed_only:
        entry = FetchResponse.FetchableTopicResponse.PartitionData.AbortedTransaction
        aborted = [
            entry(producer_id=found.producer_id, first_offset=found.first_offset)
            for found in log.aborted_between(wanted.fetch_offset, last)
        ]
    return _partition(wanted, Code.NONE, log, records, aborted), len(records)


def _partition(
    wanted: Any,
    error: Code,
    log: PartitionLog | None,
    records: bytes = b"",
    aborted: list[Any] | None = None,
) -> Any:
    return FetchResponse.FetchableTopicResponse.PartitionData(
        partition_index=wanted.partition,
        error_code=error,
        high_watermark=-1 if log is None else log.end_offset,
        last_stable_offset=-1 if log is None else log.last_stable_offset,
        log_start_offset=-1 if log is None else log.start_offset,
        aborted_transactions=aborted,
        preferred_read_replica=-1,
        records=records,
    )


def list_offsets(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Return the first, the last, or the first offset at a time."""
    topics = []
    for topic in request.topics:
        partitions = []
        for wanted in topic.partitions:
            log = broker.topics.partition(topic.name, wanted.partition_index)
            error, offset, timestamp = Code.UNKNOWN_TOPIC_OR_PARTITION, -1, -1
            if log is not None:
                error = Code.NONE
                offset, timestamp = _offset_for(
                    log, wanted.timestamp, committed_only=request.isolation_level == 1
                )
            partitions.append(
                ListOffsetsResponse.ListOffsetsTopicResponse.ListOffsetsPartitionResponse(
                    partition_index=wanted.partition_index,
                    error_code=error,
                    timestamp=timestamp,
                    offset=offset,
                    leader_epoch=0 if offset >= 0 else -1,
                )
            )
        topics.append(
            ListOffsetsResponse.ListOffsetsTopicResponse(name=topic.name, partitions=partitions)
        )
    return ListOffsetsResponse(throttle_time_ms=0, topics=topics)


def _offset_for(log: PartitionLog, timestamp: int, *, committed_only: bool) -> tuple[int, int]:
    if timestamp == _LATEST:
        return (log.last_stable_offset if committed_only else log.end_offset), -1
    if timestamp == _EARLIEST:
        return log.start_offset, -1
    if timestamp == _MAX_TIMESTAMP:
        newest = max(log.batches, key=lambda batch: batch.max_timestamp, default=None)
        if newest is None:
            return -1, -1
        timestamp = newest.max_timestamp
    for batch in log.batches:
        if batch.max_timestamp >= timestamp:
            for records in MemoryRecords(batch.data):
                for record in records:
                    if record.timestamp >= timestamp:
                        return record.offset, record.timestamp
    return -1, -1


def delete_records(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Drop whole batches before an offset."""
    answer = DeleteRecordsResponse.DeleteRecordsTopicResult
    topics = []
    for topic in request.topics:
        partitions = []
        for wanted in topic.partitions:
            log = broker.topics.partition(topic.name, wanted.partition_index)
            error, low = Code.UNKNOWN_TOPIC_OR_PARTITION, -1
            if log is not None:
                offset = log.end_offset if wanted.offset == -1 else wanted.offset
                error = Code.OFFSET_OUT_OF_RANGE
                if log.start_offset <= offset <= log.end_offset:
                    log.delete_before(offset)
                    error, low = Code.NONE, log.start_offset
            partitions.append(
                answer.DeleteRecordsPartitionResult(
                    partition_index=wanted.partition_index, low_watermark=low, error_code=error
                )
            )
        topics.append(answer(name=topic.name, partitions=partitions))
    return DeleteRecordsResponse(throttle_time_ms=0, topics=topics)
