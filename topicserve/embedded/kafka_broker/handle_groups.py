"""JoinGroup, SyncGroup, Heartbeat, LeaveGroup, and the groups' offsets."""

from collections.abc import Iterable
from typing import Any

from kafka.protocol.consumer import (
    HeartbeatResponse,
    JoinGroupResponse,
    LeaveGroupResponse,
    OffsetCommitResponse,
    OffsetFetchResponse,
    SyncGroupResponse,
)

from topicserve.embedded.kafka_broker.context import Broker, Caller
from topicserve.embedded.kafka_broker.error_codes import Code
from topicserve.embedded.kafka_broker.groups import CommittedOffset, JoinRequest

MIN_SESSION_SECONDS, MAX_SESSION_SECONDS = 0.1, 1800.0
MAX_METADATA_CHARACTERS = 4096


async def join_group(broker: Broker, request: Any, caller: Caller) -> Any:
    """Take a member in; answers when all others have joined."""
    session = request.session_timeout_ms / 1000
    rebalance = request.rebalance_timeout_ms / 1000 if request.API_VERSION >= 1 else session
    answer = JoinGroupResponse.JoinGroupResponseMember
    if not request.group_id:
        return _join_error(request, Code.INVALID_GROUP_ID)
    if not MIN_SESSION_SECONDS <= session <= MAX_SESSION_SECONDS:
        return _join_error(request, Code.INVALID_SESSION_TIMEOUT)
    joined = await broker.group(request.group_id).join(
        JoinRequest(
            request.member_id,
            (request.group_instance_id or None) if request.API_VERSION >= 5 else None,
            caller.client_id,
            caller.host,
            session,
            rebalance,
            request.protocol_type,
            [(protocol.name, bytes(protocol.metadata)) for protocol in request.protocols],
            must_know_id=request.API_VERSION >= 4,
        )
    )
    failed = joined.error is not Code.NONE
    return JoinGroupResponse(
        throttle_time_ms=0,
        error_code=joined.error,
        generation_id=joined.generation,
        protocol_type=None if failed else request.protocol_type,
        # Before version 7 the name could not be null.
        protocol_name=joined.protocol or (None if request.API_VERSION >= 7 else ""),
        leader=joined.leader,
        skip_assignment=False,
        member_id=joined.member_id,
        members=[
            answer(member_id=member_id, group_instance_id=instance_id, metadata=metadata)
            for member_id, instance_id, metadata in joined.members
        ],
    )


def _join_error(request: Any, error: Code) -> Any:
    return JoinGroupResponse(
        throttle_time_ms=0,
        error_code=error,
        generation_id=-1,
        protocol_type=None,
        protocol_name=None if request.API_VERSION >= 7 else "",
        leader="",
        skip_assignment=False,
        member_id=request.member_id,
        members=[],
    )


async def sync_group(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Take the leader's assignment; answers with the member's own when it is there."""
    group = broker.group(request.group_id)
    synced = await group.sync(
        request.member_id,
        request.generation_id,
        {given.member_id: bytes(given.assignment) for given in request.assignments},
    )
    return SyncGroupResponse(
        throttle_time_ms=0,
        error_code=synced.error,
        protocol_type=group.protocol_type,
        protocol_name=group.protocol,
        assignment=synced.assignment,
    )


def heartbeat(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Note that a member is alive."""
    instance_id = request.group_instance_id if request.API_VERSION >= 3 else None
    error = broker.group(request.group_id).beat(
        request.member_id, instance_id or None, request.generation_id
    )
    return HeartbeatResponse(throttle_time_ms=0, error_code=error)


def leave_group(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Let members go."""
    group = broker.group(request.group_id)
    if request.API_VERSION < 3:
        return LeaveGroupResponse(
            throttle_time_ms=0, error_code=group.leave(request.member_id, None), members=[]
        )
    members = [
        LeaveGroupResponse.MemberResponse(
            member_id=leaving.member_id,
            group_instance_id=leaving.group_instance_id,
            error_code=group.leave(leaving.member_id, leaving.group_instance_id or None),
        )
        for leaving in request.members
    ]
    return LeaveGroupResponse(throttle_time_ms=0, error_code=Code.NONE, members=members)


def offset_commit(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Keep offsets, from a member of this generation or from a consumer without a group."""
    group = broker.group(request.group_id)
    instance_id = request.group_instance_id if request.API_VERSION >= 7 else None
    refused = group.check_commit(
        request.member_id,
        request.generation_id_or_member_epoch,
        instance_id or None,
        transactional=False,
    )
    answer = OffsetCommitResponse.OffsetCommitResponseTopic
    topics = []
    for topic in request.topics:
        partitions = []
        for wanted in topic.partitions:
            where, error = (topic.name, wanted.partition_index), refused
            if error is Code.NONE and broker.topics.partition(*where) is None:
                error = Code.UNKNOWN_TOPIC_OR_PARTITION
            if error is Code.NONE:
                group.offsets[where] = committed_offset(wanted)
            partitions.append(
                answer.OffsetCommitResponsePartition(
                    partition_index=wanted.partition_index, error_code=error
                )
            )
        topics.append(answer(name=topic.name, partitions=partitions))
    broker.changed = True
    return OffsetCommitResponse(throttle_time_ms=0, topics=topics)


def committed_offset(wanted: Any) -> CommittedOffset:
    """Return what a request says to commit, with its metadata cut to a bound."""
    metadata = (wanted.committed_metadata or "")[:MAX_METADATA_CHARACTERS]
    return CommittedOffset(wanted.committed_offset, metadata)


def offset_fetch(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Return committed offsets, -1 where there is none."""
    stable = request.API_VERSION >= 7 and request.require_stable
    if request.API_VERSION < 8:
        topic_answer = OffsetFetchResponse.OffsetFetchResponseTopic
        topics = _offsets(
            broker,
            request.group_id,
            request.topics,
            topic_answer,
            topic_answer.OffsetFetchResponsePartition,
            stable=stable,
        )
        return OffsetFetchResponse(throttle_time_ms=0, topics=topics, error_code=Code.NONE)
    group_answer = OffsetFetchResponse.OffsetFetchResponseGroup
    groups_topic = group_answer.OffsetFetchResponseTopics
    groups = [
        group_answer(
            group_id=wanted.group_id,
            topics=_offsets(
                broker,
                wanted.group_id,
                wanted.topics,
                groups_topic,
                groups_topic.OffsetFetchResponsePartitions,
                stable=stable,
            ),
            error_code=Code.NONE,
        )
        for wanted in request.groups
    ]
    return OffsetFetchResponse(throttle_time_ms=0, groups=groups)


def _offsets(
    broker: Broker,
    group_id: str,
    topics: Iterable[Any] | None,
    topic_answer: Any,
    partition_answer: Any,
    *,
    stable: bool,
) -> list[Any]:
    group = broker.group(group_id)
    wanted = (
        list(group.offsets)
        if topics is None
        else [(topic.name, index) for topic in topics for index in topic.partition_indexes]
    )
    by_topic: dict[str, list[Any]] = {}
    for where in wanted:
        found = group.offsets.get(where, CommittedOffset(-1, ""))
        # An open transaction may change it: a reader that wants to be sure asks again (KIP-447).
        unstable = stable and broker.transactions.has_pending(group_id, where)
        by_topic.setdefault(where[0], []).append(
            partition_answer(
                partition_index=where[1],
                committed_offset=found.offset,
                committed_leader_epoch=-1,
                metadata=found.metadata,
                error_code=Code.UNSTABLE_OFFSET_COMMIT if unstable else Code.NONE,
            )
        )
    return [topic_answer(name=name, partitions=found) for name, found in by_topic.items()]
