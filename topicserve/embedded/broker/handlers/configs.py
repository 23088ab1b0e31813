"""DescribeConfigs. Settings are given when a topic is created and cannot be changed later."""

from types import SimpleNamespace as Struct
from typing import Any

from kafka.protocol.admin import DescribeConfigsResponse

from topicserve.embedded.broker.api import ClientInfo, Response
from topicserve.embedded.broker.broker import NODE_ID, EmbeddedBroker
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.topic_configs import effective_configs

_TOPIC, _BROKER = 2, 4
_FROM_TOPIC, _FROM_DEFAULT = 1, 5
_STRING = 2


def describe_configs(broker: EmbeddedBroker, request: Any, client: ClientInfo) -> Response:
    """Tell the settings of topics and of the broker."""
    results = [_describe(broker, resource) for resource in request.resources]
    return DescribeConfigsResponse(throttle_time_ms=0, results=results)


def _describe(broker: EmbeddedBroker, resource: Any) -> Struct:
    code, message, configs = ErrorCode.NONE, None, []
    try:
        values, own = _values(broker, resource)
        wanted = resource.configuration_keys
        configs = [
            _setting(name, value, _FROM_TOPIC if name in own else _FROM_DEFAULT)
            for name, value in sorted(values.items())
            if wanted is None or name in wanted
        ]
    except KafkaError as error:
        code, message = error.code, error.message
    return Struct(
        error_code=code,
        error_message=message,
        resource_type=resource.resource_type,
        resource_name=resource.resource_name,
        configs=configs,
    )


def _values(broker: EmbeddedBroker, resource: Any) -> tuple[dict[str, str], set[str]]:
    """Return all settings of a resource, and which of them are its own."""
    if resource.resource_type == _TOPIC:
        topic = broker.topics.find(resource.resource_name)
        if topic is None:
            raise KafkaError(ErrorCode.UNKNOWN_TOPIC_OR_PARTITION)
        return effective_configs(broker.config, topic.configs), set(topic.configs)
    if resource.resource_type == _BROKER and resource.resource_name in ("", str(NODE_ID)):
        config = broker.config
        values = {
            "auto.create.topics.enable": str(config.auto_create_topics).lower(),
            "log.retention.bytes": "-1",
            "message.max.bytes": str(config.message_max_bytes),
            "num.partitions": str(config.num_partitions),
        }
        return values, set()
    raise KafkaError(ErrorCode.INVALID_REQUEST, "only topics and the broker have settings here")


def _setting(name: str, value: str, source: int) -> Struct:
    return Struct(
        name=name,
        value=value,
        read_only=False,
        config_source=source,
        is_default=source == _FROM_DEFAULT,
        is_sensitive=False,
        synonyms=[],
        config_type=_STRING,
        documentation=None,
    )
