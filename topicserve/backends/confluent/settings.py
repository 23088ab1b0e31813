"""Kafka's settings as librdkafka spells them."""

import logging
from collections.abc import Callable, Mapping
from typing import Any, TypeVar

from topicserve.backends.confluent.errors import translated
from topicserve.backends.defaults import CONFLUENT
from topicserve.backends.errors import BackendConfigError
from topicserve.backends.kafka_choices import checked, without_values
from topicserve.backends.kafka_settings import RECONNECT_BACKOFF_MAX_MS, REQUEST_TIMEOUT_MS

T = TypeVar("T")

log = logging.getLogger("topicserve.backends.confluent.librdkafka")

# Kafka's names that librdkafka does not know.
_NAMES = {
    "fetch.max.wait.ms": "fetch.wait.max.ms",
    "max.request.size": "message.max.bytes",
    "receive.buffer.bytes": "socket.receive.buffer.bytes",
    "send.buffer.bytes": "socket.send.buffer.bytes",
    "metadata.max.age.ms": "topic.metadata.refresh.interval.ms",
    "socket.connection.setup.timeout.ms": "socket.connection.setup.timeout.ms",
}
_ALL_CLIENTS: dict[str, Any] = {
    # One line a problem, through Python's logging, instead of librdkafka's own stderr.
    "logger": log,
    # A consumer's settings for a producer, and the like: given to all, meant for some.
    "log.connection.close": False,
}
# librdkafka (2.10 to 2.16) makes all brokers again when the last one goes away, but keeps a group's
# coordinator as it was: `send_offsets_to_transaction` waits for it and never returns, whatever its
# time limit (librdkafka's issues 5456 and 5511). So the brokers that were known are tried again.
_TRANSACTIONAL_PRODUCERS: dict[str, Any] = {"metadata.recovery.strategy": "none"}


def to_confluent(settings: Mapping[str, object]) -> dict[str, Any]:
    """Return a client's configuration. Values stay as they are: librdkafka reads them itself."""
    configuration = _ALL_CLIENTS | {
        "reconnect.backoff.max.ms": _reconnect_backoff_max_ms(settings),
        "socket.timeout.ms": _socket_timeout_ms(settings),
    }
    if "transactional.id" in settings:
        configuration |= _TRANSACTIONAL_PRODUCERS
    for name, value in checked(CONFLUENT, settings).items():
        if name == "auto.offset.reset" and value == "none":
            value = "error"
        configuration[_NAMES.get(name, name)] = value
    return configuration


def _reconnect_backoff_max_ms(settings: Mapping[str, object]) -> int:
    # librdkafka refuses a longest pause that is shorter than the first.
    first = str(settings.get("reconnect.backoff.ms", 0))
    return max(RECONNECT_BACKOFF_MAX_MS, int(first) if first.isdecimal() else 0)


def _socket_timeout_ms(settings: Mapping[str, object]) -> int:
    # librdkafka refuses one that is longer than a transaction may take.
    longest = str(settings.get("transaction.timeout.ms", REQUEST_TIMEOUT_MS))
    return min(REQUEST_TIMEOUT_MS, int(longest) if longest.isdecimal() else REQUEST_TIMEOUT_MS)


def opened(kind: Callable[[dict[str, Any]], T], configuration: dict[str, Any]) -> T:
    """Return a client. Raises BackendConfigError, which names the setting that is wrong."""
    try:
        with translated():
            return kind(configuration)
    except BackendConfigError as error:
        problem = without_values(str(error), configuration)
        raise BackendConfigError(
            f'{problem}; leave it out or use the client "kafka-python"'
        ) from None
