"""Metadata, DescribeCluster and FindCoordinator: one broker leads and coordinates everything."""

from types import SimpleNamespace as Struct
from typing import Any

from kafka.protocol.admin import DescribeClusterResponse
from kafka.protocol.metadata import FindCoordinatorResponse, MetadataResponse

from topicserve.embedded.broker.api import ClientInfo, Response
from topicserve.embedded.broker.broker import CLUSTER_ID, NODE_ID, EmbeddedBroker
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.topics import Topic


def metadata(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Describe topics, creating those that may be created by asking for them."""
    everything = request.topics is None or (request.API_VERSION == 0 and not request.topics)
    if everything:
        topics = [_describe(topic) for topic in broker.topics]
    else:
        topics = [
            _find(broker, wanted, create=request.allow_auto_topic_creation)
            for wanted in request.topics
        ]
    node = Struct(node_id=NODE_ID, host=broker.host, port=broker.port, rack=None)
    return MetadataResponse(
        throttle_time_ms=0,
        brokers=[node],
        cluster_id=CLUSTER_ID,
        controller_id=NODE_ID,
        topics=topics,
        error_code=ErrorCode.NONE,
    )


def find_coordinator(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Name the coordinator of groups or transactions: the one broker that there is."""
    place = {"node_id": NODE_ID, "host": broker.host, "port": broker.port}
    answer = {"error_code": ErrorCode.NONE, "error_message": None, **place}
    coordinators = [Struct(key=key, **answer) for key in request.coordinator_keys or ()]
    return FindCoordinatorResponse(throttle_time_ms=0, coordinators=coordinators, **answer)


def describe_cluster(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Describe the cluster of one broker."""
    node = Struct(broker_id=NODE_ID, host=broker.host, port=broker.port, rack=None)
    return DescribeClusterResponse(
        throttle_time_ms=0,
        error_code=ErrorCode.NONE,
        error_message=None,
        endpoint_type=1,
        cluster_id=CLUSTER_ID,
        controller_id=NODE_ID,
        brokers=[node],
    )


def _find(broker: EmbeddedBroker, wanted: Any, *, create: bool) -> Struct:
    topic = broker.topics.find(wanted.name, wanted.topic_id)
    if topic is not None:
        return _describe(topic)
    if wanted.name is None:
        return _unknown(wanted, ErrorCode.UNKNOWN_TOPIC_ID)
    try:
        if create and broker.config.auto_create_topics:
            return _describe(broker.topics.create(wanted.name, broker.config.num_partitions))
        broker.topics.check_new(wanted.name, 1)
    except KafkaError as error:
        return _unknown(wanted, error.code)
    return _unknown(wanted, ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)


def _unknown(wanted: Any, code: ErrorCode) -> Struct:
    return Struct(
        error_code=code,
        name=wanted.name,
        topic_id=wanted.topic_id,
        is_internal=False,
        partitions=[],
        authorized_operations=_NO_OPERATIONS,
    )


_NO_OPERATIONS = frozenset({31})  # the bit field's way to say that they are not told


def _describe(topic: Topic) -> Struct:
    partitions = [
        Struct(
            error_code=ErrorCode.NONE,
            partition_index=partition.index,
            leader_id=NODE_ID,
            leader_epoch=0,
            replica_nodes=[NODE_ID],
            isr_nodes=[NODE_ID],
            offline_replicas=[],
        )
        for partition in topic.partitions
    ]
    return Struct(
        error_code=ErrorCode.NONE,
        name=topic.name,
        topic_id=topic.topic_id,
        is_internal=False,
        partitions=partitions,
        authorized_operations=_NO_OPERATIONS,
    )
