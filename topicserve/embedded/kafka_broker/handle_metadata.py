"""ApiVersions, Metadata, FindCoordinator, DescribeCluster: what is there, and where."""

from typing import Any

from kafka.protocol.admin import DescribeClusterResponse
from kafka.protocol.metadata import FindCoordinatorResponse, MetadataResponse

from topicserve.embedded.kafka_broker.context import CLUSTER_ID, NODE_ID, Broker, Caller
from topicserve.embedded.kafka_broker.error_codes import Code
from topicserve.embedded.kafka_broker.topics import Topic


def metadata(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Describe the topics asked for; creates them where that is allowed and wanted."""
    everything = request.topics is None or (request.API_VERSION == 0 and not request.topics)
    names = broker.topics.names() if everything else [topic.name for topic in request.topics]
    may_create = broker.settings.auto_create_topics and (
        request.API_VERSION < 4 or request.allow_auto_topic_creation
    )
    topics = []
    for name in names:
        error = Code.NONE
        if broker.topics.get(name) is None:
            error = Code.UNKNOWN_TOPIC_OR_PARTITION
            if may_create and not everything:
                error = broker.topics.create(name, -1, {})
                broker.changed = True
        topics.append(_describe(name, broker.topics.get(name), error))
    return MetadataResponse(
        throttle_time_ms=0,
        brokers=[
            MetadataResponse.MetadataResponseBroker(
                node_id=NODE_ID, host=broker.host, port=broker.port, rack=None
            )
        ],
        cluster_id=CLUSTER_ID,
        controller_id=NODE_ID,
        topics=topics,
    )


def _describe(name: str, topic: Topic | None, error: Code) -> Any:
    answer = MetadataResponse.MetadataResponseTopic
    partition = answer.MetadataResponsePartition
    count = len(topic.partitions) if topic is not None else 0
    return answer(
        error_code=error,
        name=name,
        topic_id=topic.id if topic is not None else None,
        is_internal=False,
        partitions=[
            partition(
                error_code=Code.NONE,
                partition_index=index,
                leader_id=NODE_ID,
                leader_epoch=0,
                replica_nodes=[NODE_ID],
                isr_nodes=[NODE_ID],
                offline_replicas=[],
            )
            for index in range(count)
        ],
    )


def find_coordinator(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Name the only broker there is, for groups and transactions alike."""
    return FindCoordinatorResponse(
        throttle_time_ms=0,
        error_code=Code.NONE,
        error_message=None,
        node_id=NODE_ID,
        host=broker.host,
        port=broker.port,
        coordinators=[
            FindCoordinatorResponse.Coordinator(
                key=key,
                node_id=NODE_ID,
                host=broker.host,
                port=broker.port,
                error_code=Code.NONE,
                error_message=None,
            )
            for key in request.coordinator_keys or []
        ],
    )


def describe_cluster(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Describe the cluster of one."""
    return DescribeClusterResponse(
        throttle_time_ms=0,
        error_code=Code.NONE,
        error_message=None,
        endpoint_type=1,
        cluster_id=CLUSTER_ID,
        controller_id=NODE_ID,
        brokers=[
            DescribeClusterResponse.DescribeClusterBroker(
                broker_id=NODE_ID, host=broker.host, port=broker.port, rack=None
            )
        ],
    )
