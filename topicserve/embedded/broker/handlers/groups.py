"""JoinGroup, SyncGroup, Heartbeat and LeaveGroup: what members of a consumer group ask."""

from types import SimpleNamespace as Struct
from typing import Any

from kafka.protocol.consumer import (
    HeartbeatResponse,
    JoinGroupResponse,
    LeaveGroupResponse,
    SyncGroupResponse,
)

from topicserve.embedded.broker.api import ClientInfo, Response
from topicserve.embedded.broker.broker import EmbeddedBroker
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.group import Group
from topicserve.embedded.broker.group_member import Joined, JoinRequest, MemberIdRequiredError

_MAX_SESSION_TIMEOUT_MS = 1_800_000  # Kafka's group.max.session.timeout.ms
_FIRST_TO_REQUIRE_MEMBER_ID = 4
_FIRST_TO_SKIP_ASSIGNMENT = 9
_FIRST_WITH_SEVERAL_LEAVING = 3


async def join_group(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Join a group; answered when its next generation is complete."""
    try:
        group = broker.groups.get(request.group_id)
        if not 0 < request.session_timeout_ms <= _MAX_SESSION_TIMEOUT_MS:
            raise KafkaError(ErrorCode.INVALID_SESSION_TIMEOUT)
        joined = await group.join(_join_request(request, client))
    except MemberIdRequiredError as error:
        return _join_failed(request, error.code, error.member_id)
    except KafkaError as error:
        return _join_failed(request, error.code, request.member_id)
    return _joined(request, group, joined)


async def sync_group(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Return a member's assignment, when the leader has told it."""
    group = broker.groups.peek(request.group_id)
    code, assignment = ErrorCode.NONE, b""
    try:
        _check_protocol(request, group)
        assignment = await group.sync(
            request.member_id,
            request.group_instance_id,
            request.generation_id,
            {each.member_id: each.assignment for each in request.assignments},
        )
    except KafkaError as error:
        code = error.code
    return SyncGroupResponse(
        throttle_time_ms=0,
        error_code=code,
        protocol_type=group.protocol_type,
        protocol_name=group.protocol_name,
        assignment=assignment,
    )


def heartbeat(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Keep a member alive, or tell it that it must rejoin."""
    code = ErrorCode.NONE
    try:
        broker.groups.peek(request.group_id).heartbeat(
            request.member_id, request.group_instance_id, request.generation_id
        )
    except KafkaError as error:
        code = error.code
    return HeartbeatResponse(throttle_time_ms=0, error_code=code)


def leave_group(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Take members out of a group."""
    group = broker.groups.peek(request.group_id)
    if request.API_VERSION < _FIRST_WITH_SEVERAL_LEAVING:
        code = _leave(group, request.member_id, None).error_code
        return LeaveGroupResponse(throttle_time_ms=0, error_code=code)
    members = [_leave(group, each.member_id, each.group_instance_id) for each in request.members]
    return LeaveGroupResponse(throttle_time_ms=0, error_code=ErrorCode.NONE, members=members)


def _leave(group: Group, member_id: str, group_instance_id: str | None) -> Struct:
    code = ErrorCode.NONE
    try:
        member_id = group.leave(member_id, group_instance_id)
    except KafkaError as error:
        code = error.code
    return Struct(member_id=member_id, group_instance_id=group_instance_id, error_code=code)


def _check_protocol(request: Any, group: Group) -> None:
    """Refuse a member that means another protocol than the generation's; None is not told."""
    for told, known in (
        (request.protocol_type, group.protocol_type),
        (request.protocol_name, group.protocol_name),
    ):
        if told is not None and group.members and told != known:
            raise KafkaError(ErrorCode.INCONSISTENT_GROUP_PROTOCOL)


def _join_request(request: Any, client: ClientInfo) -> JoinRequest:
    session_timeout_seconds = request.session_timeout_ms / 1000
    rebalance_timeout_seconds = request.rebalance_timeout_ms / 1000
    if rebalance_timeout_seconds < 0:  # version 0 has none
        rebalance_timeout_seconds = session_timeout_seconds
    return JoinRequest(
        request.member_id,
        request.group_instance_id,
        client.client_id,
        client.host,
        session_timeout_seconds,
        rebalance_timeout_seconds,
        request.protocol_type,
        {protocol.name: protocol.metadata for protocol in request.protocols},
        needs_member_id=request.API_VERSION >= _FIRST_TO_REQUIRE_MEMBER_ID,
    )


def _joined(request: Any, group: Group, joined: Joined) -> Response:
    leader, members = joined.leader, joined.members
    if joined.skip_assignment and request.API_VERSION < _FIRST_TO_SKIP_ASSIGNMENT:
        # An older client would compute a new assignment if it knew that it leads.
        leader, members = "", ()
    return JoinGroupResponse(
        throttle_time_ms=0,
        error_code=ErrorCode.NONE,
        generation_id=joined.generation_id,
        protocol_type=group.protocol_type,
        protocol_name=joined.protocol_name,
        leader=leader,
        skip_assignment=joined.skip_assignment,
        member_id=joined.member_id,
        members=[
            Struct(
                member_id=member.member_id,
                group_instance_id=member.group_instance_id,
                metadata=member.protocols[joined.protocol_name],
            )
            for member in members
        ],
    )


def _join_failed(request: Any, code: ErrorCode, member_id: str) -> Response:
    return JoinGroupResponse(
        throttle_time_ms=0,
        error_code=code,
        generation_id=-1,
        protocol_type=None,
        protocol_name=None if request.API_VERSION >= 7 else "",
        leader="",
        skip_assignment=False,
        member_id=member_id,
        members=[],
    )
