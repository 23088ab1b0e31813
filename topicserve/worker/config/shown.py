"""The effective configuration as people may see it: flat keys, and no secret.

For `topicserve config show` and the status page.
"""

from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any

import msgspec

from topicserve.redact import REDACTED, redact_address, redact_url
from topicserve.wire.bodies.registry import SHIPPED
from topicserve.worker.config.schema import WorkerConfig
from topicserve.worker.config.served import ServedConfig

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
# A kind that a user wrote may take a password as an option; ours take none.
_OUR_KINDS = frozenset(
    {
        *("hashmap", "onnx", "open_inference", "pipeline"),
        *("saved_model", "tf_serving", "transform", "vocabulary"),
    }
)


def shown_configuration(config: WorkerConfig) -> dict[str, str]:
    """Return every key with its value as text; a table's keys have its name and a dot before them.

    Hidden are users, passwords and queries in URLs, and texts that may be secrets: of Kafka
    settings, and of options of kinds and bodies that are not ours.
    """
    return dict(_flat("", config))


def _flat(key: str, value: object) -> Iterator[tuple[str, str]]:
    if key in _KAFKA_TABLES and isinstance(value, Mapping):
        for name, setting in value.items():
            yield f"{key}.{name}", _shown(setting, is_plain=name in _PLAIN_KAFKA_SETTINGS)
    elif key == "bodies" and isinstance(value, Mapping) and value:
        for name, options in value.items():
            if not options:
                yield f"{key}.{name}", ""  # it is named all the same
            yield from _options(f"{key}.{name}", options, is_plain=name in SHIPPED)
    elif key == "metadata.redis_url":
        yield key, redact_url(str(value))
    elif key == "servables" and isinstance(value, tuple):
        for served in value:
            yield from _served(served)
    elif isinstance(value, msgspec.Struct | Mapping) and (table := _table(value)):
        for name, inner in table.items():
            yield from _flat(f"{key}.{name}" if key else name, inner)
    else:
        yield key, _text(value)


def _served(served: ServedConfig) -> Iterator[tuple[str, str]]:
    prefix = f"servables.{served.name}"
    for name, value in _table(served).items():
        if name == "options":
            is_plain = served.kind in _OUR_KINDS
            yield from _options(f"{prefix}.options", served.options, is_plain=is_plain)
        elif name != "name":
            yield from _flat(f"{prefix}.{name}", value)


def _options(
    key: str, options: Mapping[str, object], *, is_plain: bool
) -> Iterator[tuple[str, str]]:
    for option, given in options.items():
        yield f"{key}.{option}", _shown(given, is_plain=is_plain)


def _table(value: msgspec.Struct | Mapping[str, Any]) -> Mapping[str, Any]:
    if isinstance(value, Mapping):
        return value
    return {name: getattr(value, name) for name in value.__struct_fields__}


def _shown(value: object, *, is_plain: bool) -> str:
    return _text(value) if is_plain or isinstance(value, bool | int | float) else REDACTED


def _text(value: object) -> str:
    if isinstance(value, Enum):
        return str(value.value)
    if isinstance(value, tuple | list):
        return ", ".join(_text(one) for one in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{name}: {_text(inner)}" for name, inner in value.items())
    return "" if value is None else redact_address(str(value))
