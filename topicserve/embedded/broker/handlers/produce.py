"""Produce: batches are checked, given their offsets, and appended as they came."""

import logging
from types import SimpleNamespace as Struct
from typing import Any

from kafka.protocol.producer import ProduceResponse

from topicserve.embedded.broker.api import ClientInfo, Response
from topicserve.embedded.broker.broker import EmbeddedBroker
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.log.record_batch import RecordBatch, read_batches

_log = logging.getLogger(__name__)


def produce(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Append batches; answered at once, for there are no replicas to wait for."""
    valid_acks = request.acks in (-1, 0, 1)
    responses = [
        Struct(
            name=topic.name,
            partition_responses=[
                _append(broker, request.transactional_id, topic.name, partition)
                if valid_acks
                else _failed(partition.index, KafkaError(ErrorCode.INVALID_REQUIRED_ACKS))
                for partition in topic.partition_data
            ],
        )
        for topic in request.topic_data
    ]
    if request.acks == 0:
        return None
    return ProduceResponse(responses=responses, throttle_time_ms=0)


def _append(broker: EmbeddedBroker, transactional_id: str | None, topic: str, data: Any) -> Struct:
    try:
        partition = broker.topics.partition(topic, data.index)
        records = data.records or b""
        if len(records) > broker.topics.message_max_bytes(topic):
            raise KafkaError(ErrorCode.MESSAGE_TOO_LARGE)
        batches = list(read_batches(records))
        if not batches:
            raise KafkaError(ErrorCode.INVALID_RECORD, "there is no record batch")
        offsets = [_append_batch(broker, transactional_id, partition, batch) for batch in batches]
    except KafkaError as error:
        return _failed(data.index, error)
    except OSError as error:
        _log.error("%s-%d: %s", topic, data.index, error)
        return _failed(data.index, KafkaError(ErrorCode.KAFKA_STORAGE_ERROR, str(error)))
    return _answer(data.index, ErrorCode.NONE, offsets[0], partition.log_start_offset, None)


def _append_batch(
    broker: EmbeddedBroker, transactional_id: str | None, partition: Any, batch: RecordBatch
) -> int:
    if batch.is_control:
        raise KafkaError(ErrorCode.INVALID_RECORD, "clients write no control batches")
    if batch.producer_id >= 0:
        if batch.is_transactional:
            place = (partition.topic, partition.index)
            broker.transactions.check_produce(
                transactional_id, batch.producer_id, batch.producer_epoch, place
            )
        existing = partition.producers.check(batch)
        if existing is not None:
            return int(existing)
    elif batch.is_transactional:
        raise KafkaError(ErrorCode.INVALID_RECORD, "a transactional batch has a producer id")
    return broker.topics.append(partition, batch)


def _failed(index: int, error: KafkaError) -> Struct:
    return _answer(index, error.code, -1, -1, error.message)


def _answer(
    index: int, code: ErrorCode, base_offset: int, log_start_offset: int, message: str | None
) -> Struct:
    return Struct(
        index=index,
        error_code=code,
        base_offset=base_offset,
        log_append_time_ms=-1,
        log_start_offset=log_start_offset,
        record_errors=[],
        error_message=message,
    )
