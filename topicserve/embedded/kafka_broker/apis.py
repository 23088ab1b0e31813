"""Which requests are answered, in which versions, and by what.

Versions stop where topics are named by id instead of by name, and where the new group protocol
(KIP-848) and two-phase transactions begin.
"""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from kafka.protocol import admin, consumer, metadata, producer

from topicserve.embedded.kafka_broker import (
    handle_admin,
    handle_groups,
    handle_metadata,
    handle_records,
    handle_transactions,
)
from topicserve.embedded.kafka_broker.context import Broker, Caller

Handler = Callable[[Broker, Any, Caller], Any | Awaitable[Any]]


class Api(NamedTuple):
    """One kind of request."""

    request: Any
    min_version: int
    max_version: int
    handle: Handler


API_VERSIONS_KEY = metadata.ApiVersionsRequest.API_KEY
API_VERSIONS_MAX = 4

APIS: dict[int, Api] = {
    api.request.API_KEY: api
    for api in (
        Api(producer.ProduceRequest, 3, 11, handle_records.produce),
        Api(consumer.FetchRequest, 4, 12, handle_records.fetch),
        Api(consumer.ListOffsetsRequest, 1, 7, handle_records.list_offsets),
        Api(metadata.MetadataRequest, 0, 9, handle_metadata.metadata),
        Api(consumer.OffsetCommitRequest, 2, 8, handle_groups.offset_commit),
        Api(consumer.OffsetFetchRequest, 1, 8, handle_groups.offset_fetch),
        Api(metadata.FindCoordinatorRequest, 0, 4, handle_metadata.find_coordinator),
        Api(consumer.JoinGroupRequest, 0, 8, handle_groups.join_group),
        Api(consumer.HeartbeatRequest, 0, 4, handle_groups.heartbeat),
        Api(consumer.LeaveGroupRequest, 0, 5, handle_groups.leave_group),
        Api(consumer.SyncGroupRequest, 0, 5, handle_groups.sync_group),
        Api(admin.DescribeGroupsRequest, 0, 5, handle_admin.describe_groups),
        Api(admin.ListGroupsRequest, 0, 4, handle_admin.list_groups),
        Api(admin.DeleteGroupsRequest, 0, 2, handle_admin.delete_groups),
        Api(admin.CreateTopicsRequest, 2, 7, handle_admin.create_topics),
        Api(admin.DeleteTopicsRequest, 1, 5, handle_admin.delete_topics),
        Api(admin.DeleteRecordsRequest, 0, 2, handle_records.delete_records),
        Api(admin.CreatePartitionsRequest, 0, 3, handle_admin.create_partitions),
        Api(admin.DescribeConfigsRequest, 1, 4, handle_admin.describe_configs),
        Api(admin.DescribeClusterRequest, 0, 1, handle_metadata.describe_cluster),
        Api(producer.InitProducerIdRequest, 0, 4, handle_transactions.init_producer_id),
        Api(producer.AddPartitionsToTxnRequest, 0, 3, handle_transactions.add_partitions_to_txn),
        Api(producer.AddOffsetsToTxnRequest, 0, 3, handle_transactions.add_offsets_to_txn),
        Api(producer.EndTxnRequest, 0, 3, handle_transactions.end_txn),
        Api(producer.TxnOffsetCommitRequest, 0, 3, handle_transactions.txn_offset_commit),
    )
}


def api_versions(error_code: int) -> Any:
    """Return what is answered here."""
    answer = metadata.ApiVersionsResponse
    ranges = {key: (api.min_version, api.max_version) for key, api in APIS.items()}
    ranges[API_VERSIONS_KEY] = (0, API_VERSIONS_MAX)
    return answer(
        error_code=error_code,
        api_keys=[
            answer.ApiVersion(api_key=key, min_version=low, max_version=high)
            for key, (low, high) in sorted(ranges.items())
        ],
        throttle_time_ms=0,
    )
