"""The effective configuration as people may see it: flat keys, and no secret."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from enum import Enum
from typing import Any

import msgspec

from topicserve.backends.redact import REDACTED, redact_url
from topicserve.worker.config.schema import WorkerConfig

# Kafka's settings may hold passwords, tokens and keys under names that clients add with time. So
# only what cannot be one is shown: numbers, truth values, and the texts of these names.
_PLAIN_KAFKA_SETTINGS = frozenset(
    {
        "acks",
        "auto.offset.reset",
        "compression.codec",
        "compression.type",
        "group.protocol",
        "isolation.level",
        "partition.assignment.strategy",
        "sasl.mechanism",
        "sasl.mechanisms",
        "security.protocol",
        "ssl.endpoint.identification.algorithm",
        "transactional.id",
    }
)
_KAFKA_TABLES = ("kafka.settings", "kafka.consumer_settings", "kafka.producer_settings")


def shown_configuration(config: WorkerConfig) -> dict[str, str]:
    """Return every key with its value as text; a table's keys have its name and a dot before them.

    Passwords in URLs, and Kafka settings that may be secrets, are hidden.
    """
    return dict(_flat("", config))


def _flat(key: str, value: object) -> Iterator[tuple[str, str]]:
    if key in _KAFKA_TABLES and isinstance(value, Mapping):
        for name, setting in value.items():
            yield f"{key}.{name}", _kafka_setting(name, setting)
    elif key == "metadata.redis_url":
        yield key, redact_url(str(value))
    elif key == "servables" and isinstance(value, tuple):
        for served in value:
            name = served.servable.name
            for inner, text in _flat("", served):
                yield f"servables.{name}.{inner.removeprefix('servable.')}", text
    elif (table := _table(value)) is not None:
        for name, inner_value in table.items():
            yield from _flat(f"{key}.{name}" if key else name, inner_value)
    else:
        yield key, _text(value)


def _table(value: object) -> Mapping[str, Any] | None:
    if isinstance(value, msgspec.Struct):
        return {name: getattr(value, name) for name in value.__struct_fields__}
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    if isinstance(value, Mapping) and value:
        return {str(name): inner for name, inner in value.items()}
    return None


def _kafka_setting(name: str, setting: object) -> str:
    is_plain = isinstance(setting, bool | int | float) or name in _PLAIN_KAFKA_SETTINGS
    return _text(setting) if is_plain else REDACTED


def _text(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple | list | frozenset | set):
        return ", ".join(_text(one) for one in value)
    if isinstance(value, Mapping):
        return ""  # an empty table
    return "" if value is None else str(value)
