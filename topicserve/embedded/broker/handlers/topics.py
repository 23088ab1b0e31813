"""CreateTopics, DeleteTopics, CreatePartitions and DeleteRecords."""

from types import SimpleNamespace as Struct
from typing import Any

from kafka.protocol.admin import (
    CreatePartitionsResponse,
    CreateTopicsResponse,
    DeleteRecordsResponse,
    DeleteTopicsResponse,
)

from topicserve.embedded.broker.api import ClientInfo, Response
from topicserve.embedded.broker.broker import EmbeddedBroker
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError


def create_topics(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Create topics, or only say whether they could be."""
    topics = [_create(broker, wanted, request.validate_only) for wanted in request.topics]
    return CreateTopicsResponse(throttle_time_ms=0, topics=topics)


def delete_topics(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Delete topics by name."""
    responses = []
    for name in request.topic_names:
        topic = broker.topics.find(name)
        code = ErrorCode.NONE if topic else ErrorCode.UNKNOWN_TOPIC_OR_PARTITION
        if topic is not None:
            broker.delete_topic(topic)
        responses.append(Struct(name=name, error_code=code, error_message=None))
    return DeleteTopicsResponse(throttle_time_ms=0, responses=responses)


def create_partitions(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Give topics more partitions."""
    results = []
    for wanted in request.topics:
        code, message = ErrorCode.NONE, None
        try:
            broker.topics.add_partitions(
                wanted.name, wanted.count, validate_only=request.validate_only
            )
        except KafkaError as error:
            code, message = error.code, error.message
        results.append(Struct(name=wanted.name, error_code=code, error_message=message))
    return CreatePartitionsResponse(throttle_time_ms=0, results=results)


def delete_records(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Delete the records below offsets (KIP-107)."""
    topics = [
        Struct(
            name=topic.name,
            partitions=[_delete_records(broker, topic.name, each) for each in topic.partitions],
        )
        for topic in request.topics
    ]
    return DeleteRecordsResponse(throttle_time_ms=0, topics=topics)


def _delete_records(broker: EmbeddedBroker, topic: str, wanted: Any) -> Struct:
    code, low_watermark = ErrorCode.NONE, -1
    try:
        low_watermark = broker.topics.delete_records(topic, wanted.partition_index, wanted.offset)
    except KafkaError as error:
        code = error.code
    return Struct(
        partition_index=wanted.partition_index, low_watermark=low_watermark, error_code=code
    )


def _create(broker: EmbeddedBroker, wanted: Any, validate_only: bool) -> Struct:
    configs = {each.name: each.value for each in wanted.configs}
    num_partitions = wanted.num_partitions
    if num_partitions == -1:
        num_partitions = len(wanted.assignments) or broker.config.num_partitions
    code, message, topic_id = ErrorCode.NONE, None, None
    try:
        if wanted.replication_factor not in (-1, 1):
            raise KafkaError(ErrorCode.INVALID_REPLICATION_FACTOR, "there is one broker")
        broker.topics.check_new(wanted.name, num_partitions, configs)
        if not validate_only:
            topic_id = broker.topics.create(wanted.name, num_partitions, configs).topic_id
    except KafkaError as error:
        code, message = error.code, error.message
    return Struct(
        name=wanted.name,
        topic_id=topic_id,
        error_code=code,
        error_message=message,
        num_partitions=-1 if code else num_partitions,
        replication_factor=-1 if code else 1,
        configs=[],
    )
