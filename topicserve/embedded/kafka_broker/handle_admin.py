"""Topics and groups as admin tools see and change them."""

from typing import Any

from kafka.protocol.admin import (
    CreatePartitionsResponse,
    CreateTopicsResponse,
    DeleteGroupsResponse,
    DeleteTopicsResponse,
    DescribeConfigsResponse,
    DescribeGroupsResponse,
    ListGroupsResponse,
)

from topicserve.embedded.kafka_broker.context import Broker, Caller
from topicserve.embedded.kafka_broker.error_codes import Code
from topicserve.embedded.kafka_broker.groups import Group

_TOPIC_RESOURCE = 2
_DEFAULT_CONFIG, _TOPIC_CONFIG = 5, 1
_STRING = 2


def create_topics(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Create topics, or say whether they could be created."""
    results = []
    for wanted in request.topics:
        count = len(wanted.assignments) or wanted.num_partitions
        config = {entry.name: entry.value for entry in wanted.configs if entry.value is not None}
        if wanted.replication_factor > 1:
            error = Code.INVALID_REPLICATION_FACTOR
        elif request.validate_only:
            there = broker.topics.get(wanted.name) is not None
            error = Code.TOPIC_ALREADY_EXISTS if there else Code.NONE
        else:
            error = broker.topics.create(wanted.name, count, config)
        topic = broker.topics.get(wanted.name)
        results.append(
            CreateTopicsResponse.CreatableTopicResult(
                name=wanted.name,
                topic_id=topic.id if topic is not None else None,
                error_code=error,
                error_message=None,
                num_partitions=len(topic.partitions) if topic is not None else count,
                replication_factor=1,
                configs=[],
            )
        )
    _save(broker)
    return CreateTopicsResponse(throttle_time_ms=0, topics=results)


def delete_topics(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Delete topics with their records."""
    results = [
        DeleteTopicsResponse.DeletableTopicResult(
            name=name, error_code=broker.topics.delete(name), error_message=None
        )
        for name in request.topic_names
    ]
    _save(broker)
    return DeleteTopicsResponse(throttle_time_ms=0, responses=results)


def create_partitions(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Give topics more partitions."""
    results = [
        CreatePartitionsResponse.CreatePartitionsTopicResult(
            name=wanted.name,
            error_code=broker.topics.grow(wanted.name, wanted.count),
            error_message=None,
        )
        for wanted in request.topics
    ]
    _save(broker)
    return CreatePartitionsResponse(throttle_time_ms=0, results=results)


def describe_configs(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Return a topic's settings, or the broker's few."""
    result = DescribeConfigsResponse.DescribeConfigsResult
    results = []
    for resource in request.resources:
        topic = None
        error = Code.NONE
        if resource.resource_type == _TOPIC_RESOURCE:
            topic = broker.topics.get(resource.resource_name)
            error = Code.NONE if topic is not None else Code.UNKNOWN_TOPIC_OR_PARTITION
        own = topic.config if topic is not None else {}
        settings = {**_defaults(broker, of_topic=topic is not None), **own}
        wanted = resource.configuration_keys
        results.append(
            result(
                error_code=error,
                error_message=None,
                resource_type=resource.resource_type,
                resource_name=resource.resource_name,
                configs=[
                    result.DescribeConfigsResourceResult(
                        name=name,
                        value=value,
                        read_only=False,
                        config_source=_TOPIC_CONFIG if name in own else _DEFAULT_CONFIG,
                        is_default=name not in own,
                        is_sensitive=False,
                        synonyms=[],
                        config_type=_STRING,
                        documentation=None,
                    )
                    for name, value in settings.items()
                    if error is Code.NONE and (not wanted or name in wanted)
                ],
            )
        )
    return DescribeConfigsResponse(throttle_time_ms=0, results=results)


def _defaults(broker: Broker, *, of_topic: bool) -> dict[str, str]:
    if not of_topic:
        return {"num.partitions": str(broker.settings.num_partitions)}
    return {
        "cleanup.policy": "delete",
        "max.message.bytes": str(broker.settings.max_message_bytes),
        "retention.bytes": str(broker.settings.retention_bytes),
        "retention.ms": "-1",
    }


def list_groups(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Return the groups that have members or offsets."""
    states = request.states_filter if request.API_VERSION >= 4 else None
    groups = [
        ListGroupsResponse.ListedGroup(
            group_id=group.id,
            protocol_type=group.protocol_type,
            group_state=group.state.value,
            group_type="classic",
        )
        for group in broker.groups.values()
        if (group.members or group.offsets) and (not states or group.state.value in states)
    ]
    return ListGroupsResponse(throttle_time_ms=0, error_code=Code.NONE, groups=groups)


def describe_groups(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Return groups with their members and assignments."""
    groups = [_describe_group(name, broker.groups.get(name)) for name in request.groups]
    return DescribeGroupsResponse(throttle_time_ms=0, groups=groups)


def _describe_group(name: str, group: Group | None) -> Any:
    answer = DescribeGroupsResponse.DescribedGroup
    members = list(group.members.values()) if group is not None else []
    return answer(
        error_code=Code.NONE,
        error_message=None,
        group_id=name,
        group_state=group.state.value if group is not None else "Dead",
        protocol_type=group.protocol_type if group is not None else "",
        protocol_data=group.protocol if group is not None else "",
        members=[
            answer.DescribedGroupMember(
                member_id=member.id,
                group_instance_id=member.instance_id,
                client_id=member.client_id,
                client_host=member.host,
                member_metadata=member.subscription(group.protocol if group is not None else ""),
                member_assignment=member.assignment,
            )
            for member in members
        ],
        authorized_operations=-(2**31),
    )


def delete_groups(broker: Broker, request: Any, caller: Caller) -> Any:  # noqa: ARG001
    """Delete groups without members, with their offsets."""
    results = []
    for name in request.groups_names:
        group = broker.groups.get(name)
        error = Code.GROUP_ID_NOT_FOUND
        if group is not None:
            error = Code.NON_EMPTY_GROUP if group.members else Code.NONE
        if error is Code.NONE:
            del broker.groups[name]
        results.append(DeleteGroupsResponse.DeletableGroupResult(group_id=name, error_code=error))
    _save(broker)
    return DeleteGroupsResponse(throttle_time_ms=0, results=results)


def _save(broker: Broker) -> None:
    broker.changed = True
    broker.save()
