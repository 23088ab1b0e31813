"""Kafka's settings as kafka-python spells them."""

import re
from collections.abc import Callable, Mapping
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from topicserve.backends.defaults import KAFKA_PYTHON
from topicserve.backends.errors import BackendConfigError
from topicserve.backends.kafka_choices import checked, described
from topicserve.backends.kafka_settings import RECONNECT_BACKOFF_MAX_MS, integer

# Names that are not Kafka's with underscores for dots. The librdkafka spellings are what Kafka's
# documentation leaves to Java's key stores and login modules.
_NAMES = {
    "ssl.ca.location": "ssl_cafile",
    "ssl.certificate.location": "ssl_certfile",
    "ssl.key.location": "ssl_keyfile",
    "ssl.key.password": "ssl_password",
    "ssl.crl.location": "ssl_crlfile",
    "ssl.cipher.suites": "ssl_ciphers",
    "sasl.mechanisms": "sasl_mechanism",
    "sasl.username": "sasl_plain_username",
    "sasl.password": "sasl_plain_password",
    "sasl.kerberos.service.name": "sasl_kerberos_service_name",
    "max.in.flight": "max_in_flight_requests_per_connection",
    "receive.buffer.bytes": "receive_buffer_bytes",
    "send.buffer.bytes": "send_buffer_bytes",
}
_ASSIGNORS = {
    "cooperative-sticky": CooperativeStickyAssignor,
    "sticky": StickyPartitionAssignor,
    "range": RangePartitionAssignor,
    "roundrobin": RoundRobinPartitionAssignor,
}
_KNOWN = {
    "consumer": KafkaConsumer.DEFAULT_CONFIG,
    "producer": KafkaProducer.DEFAULT_CONFIG,
    "admin": KafkaAdminClient.DEFAULT_CONFIG,
}
# Set by objects, which no one can write into a file.
_OBJECTS = re.compile(r"serializer|selector|kafka_client|reporters|callback|context|socket_options")
_TRUE_FALSE = {"true": True, "false": False}


def to_kafka_python(settings: Mapping[str, object], role: str) -> dict[str, Any]:
    """Return a client's keyword arguments. `role` is "consumer", "producer" or "admin".

    Raises BackendConfigError, which names the setting, for one that kafka-python does not have or
    a value that it cannot be.
    """
    arguments: dict[str, Any] = {"reconnect_backoff_max_ms": RECONNECT_BACKOFF_MAX_MS}
    if "metrics_enabled" in _KNOWN[role]:
        arguments["metrics_enabled"] = False  # the client's own, which no one reads here
    for name, value in checked(KAFKA_PYTHON, settings).items():
        if name == "ssl.endpoint.identification.algorithm":
            arguments["ssl_check_hostname"] = value != "none"
            continue
        argument = _NAMES.get(name, name.replace(".", "_"))
        if argument not in _KNOWN[role] or "_" in name or _OBJECTS.search(argument):
            raise BackendConfigError(
                f"{name}: kafka-python has no such {role} setting; leave it out or use the "
                'client "confluent"'
            )
        arguments[argument] = _value(name, argument, value, _KNOWN[role][argument])
    return arguments


def _value(name: str, argument: str, value: object, default: object) -> object:
    if argument in _SPECIAL:
        return _SPECIAL[argument](name, value)
    kind = type(default)
    if kind is bool and str(value).lower() in _TRUE_FALSE:
        return _TRUE_FALSE[str(value).lower()]
    if kind in (int, float) or argument.endswith(("_ms", "_bytes")):
        try:
            return int(str(value))
        except ValueError:
            raise BackendConfigError(f"{name} must be an integer, {described(value)}") from None
    if kind is bool:
        raise BackendConfigError(f"{name} must be true or false, {described(value)}")
    return value


def _acks(_: str, value: object) -> object:
    return value if value == "all" else int(str(value))


def _compression_type(_: str, value: object) -> object:
    return None if value == "none" else value


def _retries(name: str, value: object) -> object:
    retries = integer({name: value}, name)
    # Kafka's default, Integer.MAX_VALUE, means "until the delivery timeout".
    return float("inf") if retries >= 2**31 - 1 else retries


def _assignors(_: str, value: object) -> object:
    return [_ASSIGNORS[part] for part in str(value).split(",")]


def _bootstrap_servers(name: str, value: object) -> object:
    servers = [server.strip() for server in str(value).split(",") if server.strip()]
    server_form = r"(?:\[[^\[\]@/\s]+\]|[^\[\]@/\s]+):\d+"
    wrong = [server for server in servers if not re.fullmatch(server_form, server)]
    if wrong or not servers:
        raise BackendConfigError(f"{name} must be host:port[,host:port...]; one of them is not")
    return servers


def _partitioner(name: str, _: object) -> object:
    raise BackendConfigError(
        f"{name}: keys go to Kafka's default partitions; no other partitioner can be set"
    )


_SPECIAL: dict[str, Callable[[str, object], object]] = {
    "acks": _acks,
    "bootstrap_servers": _bootstrap_servers,
    "compression_type": _compression_type,
    "partition_assignment_strategy": _assignors,
    "partitioner": _partitioner,
    "retries": _retries,
}
