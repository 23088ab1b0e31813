"""What is answered: each kind of request, its versions, and its handler.

The versions end where topics are named by id instead of by name (KIP-516), and before the newer
group protocol (KIP-848) and transactions without AddPartitionsToTxn (KIP-890).
"""

from types import SimpleNamespace as Struct
from typing import Any

from kafka.protocol import admin, consumer, metadata, producer

from topicserve.embedded.broker.api import Api, ClientInfo, Response
from topicserve.embedded.broker.broker import EmbeddedBroker
from topicserve.embedded.broker.error_codes import ErrorCode
from topicserve.embedded.broker.handlers import (
    cluster,
    configs,
    fetch,
    group_admin,
    group_offsets,
    groups,
    offsets,
    produce,
    topics,
    transactions,
)


def api_versions(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Tell which versions of what are understood."""
    return supported_versions(ErrorCode.NONE)


def supported_versions(code: ErrorCode) -> Response:
    """Return the table of what is understood, as an answer with this error."""
    ranges = [
        Struct(api_key=api.key, min_version=api.min_version, max_version=api.max_version)
        for api in sorted(APIS.values(), key=lambda api: api.key)
    ]
    return metadata.ApiVersionsResponse(error_code=code, api_keys=ranges, throttle_time_ms=0)


APIS = {
    api.key: api
    for api in (
        Api(producer.ProduceRequest, 3, 11, produce.produce),
        Api(consumer.FetchRequest, 4, 12, fetch.fetch),
        Api(consumer.ListOffsetsRequest, 1, 7, offsets.list_offsets),
        Api(metadata.MetadataRequest, 0, 12, cluster.metadata),
        Api(consumer.OffsetCommitRequest, 2, 9, group_offsets.offset_commit),
        Api(consumer.OffsetFetchRequest, 1, 8, group_offsets.offset_fetch),
        Api(metadata.FindCoordinatorRequest, 0, 4, cluster.find_coordinator),
        Api(consumer.JoinGroupRequest, 0, 9, groups.join_group),
        Api(consumer.HeartbeatRequest, 0, 4, groups.heartbeat),
        Api(consumer.LeaveGroupRequest, 0, 5, groups.leave_group),
        Api(consumer.SyncGroupRequest, 0, 5, groups.sync_group),
        Api(admin.DescribeGroupsRequest, 0, 5, group_admin.describe_groups),
        Api(admin.ListGroupsRequest, 0, 5, group_admin.list_groups),
        Api(metadata.ApiVersionsRequest, 0, 4, api_versions),
        Api(admin.CreateTopicsRequest, 2, 7, topics.create_topics),
        Api(admin.DeleteTopicsRequest, 1, 5, topics.delete_topics),
        Api(admin.DeleteRecordsRequest, 0, 2, topics.delete_records),
        Api(producer.InitProducerIdRequest, 0, 4, transactions.init_producer_id),
        Api(producer.AddPartitionsToTxnRequest, 0, 3, transactions.add_partitions_to_txn),
        Api(producer.AddOffsetsToTxnRequest, 0, 3, transactions.add_offsets_to_txn),
        Api(producer.EndTxnRequest, 0, 3, transactions.end_txn),
        Api(producer.TxnOffsetCommitRequest, 0, 3, transactions.txn_offset_commit),
        Api(admin.DescribeConfigsRequest, 1, 4, configs.describe_configs),
        Api(admin.CreatePartitionsRequest, 0, 3, topics.create_partitions),
        Api(admin.DeleteGroupsRequest, 0, 2, group_admin.delete_groups),
        Api(admin.DescribeClusterRequest, 0, 1, cluster.describe_cluster),
    )
}
