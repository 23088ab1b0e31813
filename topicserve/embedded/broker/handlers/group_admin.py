"""ListGroups, DescribeGroups and DeleteGroups: what admin tools ask of consumer groups."""

from types import SimpleNamespace as Struct
from typing import Any

from kafka.protocol.admin import (
    DeleteGroupsResponse,
    DescribeGroupsResponse,
    ListGroupsResponse,
)

from topicserve.embedded.broker.api import ClientInfo, Response
from topicserve.embedded.broker.broker import EmbeddedBroker
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.group import Group
from topicserve.embedded.broker.group_member import GroupState, Member


def list_groups(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """List the groups, those in certain states if they are named."""
    wanted = {state.lower() for state in request.states_filter or ()}
    types = {kind.lower() for kind in request.types_filter or ()}
    groups = [
        Struct(
            group_id=group.group_id,
            protocol_type=group.protocol_type,
            group_state=group.state,
            group_type="classic",
        )
        for group in broker.groups
        if (not wanted or group.state.lower() in wanted) and (not types or "classic" in types)
    ]
    return ListGroupsResponse(throttle_time_ms=0, error_code=ErrorCode.NONE, groups=groups)


def describe_groups(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Describe groups and their members; one that does not exist is dead."""
    groups = [
        _describe(broker.groups.peek(group_id), exists=broker.groups.exists(group_id))
        for group_id in request.groups
    ]
    return DescribeGroupsResponse(throttle_time_ms=0, groups=groups)


def delete_groups(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Delete groups that have no members."""
    results = []
    for group_id in request.groups_names:
        code = ErrorCode.NONE
        try:
            broker.groups.delete(group_id)
        except KafkaError as error:
            code = error.code
        results.append(Struct(group_id=group_id, error_code=code))
    return DeleteGroupsResponse(throttle_time_ms=0, results=results)


def _describe(group: Group, *, exists: bool) -> Struct:
    return Struct(
        error_code=ErrorCode.NONE,
        error_message=None,
        group_id=group.group_id,
        group_state=group.state if exists else GroupState.DEAD,
        protocol_type=group.protocol_type,
        protocol_data=group.protocol_name,
        members=[_member(member, group.protocol_name) for member in group.members.values()],
        authorized_operations=frozenset({31}),
    )


def _member(member: Member, protocol_name: str) -> Struct:
    return Struct(
        member_id=member.member_id,
        group_instance_id=member.group_instance_id,
        client_id=member.request.client_id,
        client_host=f"/{member.request.client_host}",
        member_metadata=member.protocols.get(protocol_name, b""),
        member_assignment=member.assignment,
    )
