"""InitProducerId, and the four requests of a transaction from its begin to its end."""

from types import SimpleNamespace as Struct
from typing import Any

from kafka.protocol.producer import (
    AddOffsetsToTxnResponse,
    AddPartitionsToTxnResponse,
    EndTxnResponse,
    InitProducerIdResponse,
    TxnOffsetCommitResponse,
)

from topicserve.embedded.broker.api import ClientInfo, Response
from topicserve.embedded.broker.broker import EmbeddedBroker
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.groups import TopicPartition
from topicserve.embedded.broker.handlers.group_offsets import offset_answers, read_offsets

_FIRST_WITH_GENERATION = 3
# PRODUCER_FENCED came late (KIP-588), and not to TxnOffsetCommit in any version that is understood:
# clients of older versions know a fenced producer by INVALID_PRODUCER_EPOCH.
_FIRST_WITH_FENCED = 2
_FIRST_INIT_WITH_FENCED = 4
_FIRST_OFFSETS_WITH_FENCED = 4


def init_producer_id(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Give out a producer id and epoch."""
    code, producer_id, producer_epoch = ErrorCode.NONE, -1, -1
    try:
        producer_id, producer_epoch = broker.transactions.init_producer_id(
            request.transactional_id,
            request.transaction_timeout_ms / 1000,
            request.producer_id,
            request.producer_epoch,
        )
    except KafkaError as error:
        code = _known(error.code, request.API_VERSION, _FIRST_INIT_WITH_FENCED)
    return InitProducerIdResponse(
        throttle_time_ms=0,
        error_code=code,
        producer_id=producer_id,
        producer_epoch=producer_epoch,
    )


def add_partitions_to_txn(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Make partitions part of a transaction: all of them or, where one is unknown, none."""
    topics = request.v3_and_below_topics
    wanted = [(topic.name, index) for topic in topics for index in topic.partitions]
    codes = {place: _check_partition(broker, place) for place in wanted}
    if any(codes.values()):
        codes = {place: code or ErrorCode.OPERATION_NOT_ATTEMPTED for place, code in codes.items()}
    else:
        try:
            broker.transactions.add_partitions(
                request.v3_and_below_transactional_id,
                request.v3_and_below_producer_id,
                request.v3_and_below_producer_epoch,
                wanted,
            )
        except KafkaError as error:
            codes = dict.fromkeys(
                wanted, _known(error.code, request.API_VERSION, _FIRST_WITH_FENCED)
            )
    results = [
        Struct(
            name=topic.name,
            results_by_partition=[
                Struct(partition_index=index, partition_error_code=codes[topic.name, index])
                for index in topic.partitions
            ],
        )
        for topic in topics
    ]
    return AddPartitionsToTxnResponse(throttle_time_ms=0, results_by_topic_v3_and_below=results)


def add_offsets_to_txn(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Make a group's offsets part of a transaction."""
    code = ErrorCode.NONE
    try:
        broker.transactions.add_group(
            request.transactional_id,
            request.producer_id,
            request.producer_epoch,
            request.group_id,
        )
    except KafkaError as error:
        code = _known(error.code, request.API_VERSION, _FIRST_WITH_FENCED)
    return AddOffsetsToTxnResponse(throttle_time_ms=0, error_code=code)


def txn_offset_commit(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Let a group's offsets be committed with a transaction, if the member may still speak."""
    offsets, codes = read_offsets(broker, request.topics, ErrorCode.NONE)
    try:
        if request.API_VERSION >= _FIRST_WITH_GENERATION:
            broker.groups.peek(request.group_id).check_transactional_commit(
                request.member_id, request.group_instance_id, request.generation_id
            )
        broker.transactions.add_offsets(
            request.transactional_id,
            request.producer_id,
            request.producer_epoch,
            request.group_id,
            offsets,
        )
    except KafkaError as error:
        codes = dict.fromkeys(
            codes, _known(error.code, request.API_VERSION, _FIRST_OFFSETS_WITH_FENCED)
        )
    return TxnOffsetCommitResponse(throttle_time_ms=0, topics=offset_answers(request.topics, codes))


def end_txn(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Commit or abort a transaction."""
    code = ErrorCode.NONE
    try:
        broker.transactions.end(
            request.transactional_id,
            request.producer_id,
            request.producer_epoch,
            committed=request.committed,
        )
    except KafkaError as error:
        code = _known(error.code, request.API_VERSION, _FIRST_WITH_FENCED)
    return EndTxnResponse(throttle_time_ms=0, error_code=code)


def _check_partition(broker: EmbeddedBroker, place: TopicPartition) -> ErrorCode:
    try:
        broker.topics.partition(*place)
    except KafkaError as error:
        return error.code
    return ErrorCode.NONE


def _known(code: ErrorCode, version: int, first_with_fenced: int) -> ErrorCode:
    if code is ErrorCode.PRODUCER_FENCED and version < first_with_fenced:
        return ErrorCode.INVALID_PRODUCER_EPOCH
    return code
