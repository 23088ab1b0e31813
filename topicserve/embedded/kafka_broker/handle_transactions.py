"""InitProducerId, AddPartitionsToTxn, AddOffsetsToTxn, TxnOffsetCommit, EndTxn."""

from typing import Any

from kafka.protocol.producer import (
    AddOffsetsToTxnResponse,
    AddPartitionsToTxnResponse,
    EndTxnResponse,
    InitProducerIdResponse,
    TxnOffsetCommitResponse,
)

from topicserve.embedded.kafka_broker.context import Broker, Caller
from topicserve.embedded.kafka_broker.error_codes import Code
from topicserve.embedded.kafka_broker.handle_groups import committed_offset


def init_producer_id(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Give a producer its id and epoch."""
    has_id = request.API_VERSION >= 3
    error, producer_id, epoch = broker.transactions.init_producer(
        request.transactional_id,
        request.transaction_timeout_ms / 1000,
        request.producer_id if has_id else -1,
        request.producer_epoch if has_id else -1,
    )
    broker.changed = True
    broker.save()  # an epoch that was forgotten would let a zombie in
    return InitProducerIdResponse(
        throttle_time_ms=0, error_code=error, producer_id=producer_id, producer_epoch=epoch
    )


def add_partitions_to_txn(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Make partitions part of the open transaction."""
    answer = AddPartitionsToTxnResponse.AddPartitionsToTxnTopicResult
    partition_answer = answer.AddPartitionsToTxnPartitionResult
    topics = [
        answer(
            name=topic.name,
            results_by_partition=[
                partition_answer(
                    partition_index=index,
                    partition_error_code=broker.transactions.add_partition(
                        request.v3_and_below_transactional_id,
                        request.v3_and_below_producer_id,
                        request.v3_and_below_producer_epoch,
                        (topic.name, index),
                    ),
                )
                for index in topic.partitions
            ],
        )
        for topic in request.v3_and_below_topics
    ]
    return AddPartitionsToTxnResponse(throttle_time_ms=0, results_by_topic_v3_and_below=topics)


def add_offsets_to_txn(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Make a group's offsets part of the open transaction."""
    error = broker.transactions.add_group(
        request.transactional_id, request.producer_id, request.producer_epoch
    )
    return AddOffsetsToTxnResponse(throttle_time_ms=0, error_code=error)


def txn_offset_commit(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Keep offsets until the transaction is committed, for members of this generation (KIP-447)."""
    refused = Code.NONE
    if request.API_VERSION >= 3:
        refused = broker.group(request.group_id).check_commit(
            request.member_id,
            request.generation_id,
            request.group_instance_id or None,
            transactional=True,
        )
    answer = TxnOffsetCommitResponse.TxnOffsetCommitResponseTopic
    topics = []
    for topic in request.topics:
        partitions = []
        for wanted in topic.partitions:
            where, error = (topic.name, wanted.partition_index), refused
            if error is Code.NONE and broker.topics.partition(*where) is None:
                error = Code.UNKNOWN_TOPIC_OR_PARTITION
            if error is Code.NONE:
                error = broker.transactions.add_offset(
                    request.transactional_id,
                    request.producer_id,
                    request.producer_epoch,
                    request.group_id,
                    where,
                    committed_offset(wanted),
                )
            partitions.append(
                answer.TxnOffsetCommitResponsePartition(
                    partition_index=wanted.partition_index, error_code=error
                )
            )
        topics.append(answer(name=topic.name, partitions=partitions))
    return TxnOffsetCommitResponse(throttle_time_ms=0, topics=topics)


def end_txn(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Commit or abort."""
    error = broker.transactions.end(
        request.transactional_id,
        request.producer_id,
        request.producer_epoch,
        committed=request.committed,
    )
    broker.changed = True
    broker.save()
    return EndTxnResponse(throttle_time_ms=0, error_code=error)
