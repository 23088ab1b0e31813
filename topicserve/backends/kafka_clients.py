"""Opens either of the two Kafka client libraries behind the broker port.

A library is imported when its client is opened, so only the one that is used must be installed.
"""

import re
from collections.abc import Callable, Mapping
from importlib import import_module

from topicserve.backends.broker import Broker
from topicserve.backends.defaults import CONFLUENT, KAFKA_PYTHON
from topicserve.backends.errors import BackendConfigError

# Imported when asked for: confluent-kafka is an extra, and neither costs those who use the other.
_ADAPTERS = {
    KAFKA_PYTHON: ("topicserve.backends.kafka_python.broker", "KafkaPythonBroker", "topicserve"),
    CONFLUENT: (
        "topicserve.backends.confluent.broker",
        "ConfluentBroker",
        "topicserve[confluent]",
    ),
}
# As Kafka has it, with a listener's protocol before it, which is passed over.
_SERVER = re.compile(r"(?:[A-Za-z_]+://)?(?:\[[^\[\]@/\s]+\]|[^\[\]@/:\s]+):([0-9]{1,5})", re.ASCII)


def open_broker(client: str, settings: Mapping[str, object]) -> Broker:
    """Return the port on a client library, "kafka-python" or "confluent".

    `settings` are Kafka's, by their names in Kafka's documentation, and go to every consumer,
    producer and admin that knows them. Connects to nothing yet.

    Raises BackendConfigError for an unknown client, a library that is not installed (the message
    names the extra) and settings that the client does not have.
    """
    if client not in _ADAPTERS:
        names = " or ".join(f'"{name}"' for name in _ADAPTERS)
        raise BackendConfigError(f'kafka.client must be {names}, found "{client}"')
    servers = settings.get("bootstrap.servers", "")
    if "@" in str(servers):
        # Clients and brokers' errors would show it, with what stands before the @.
        raise BackendConfigError(
            "bootstrap.servers: must be host:port[,host:port...]; user and password go to "
            "sasl.username and sasl.password"
        )
    if "bootstrap.servers" in settings:
        _check_servers(str(servers))
    module, adapter, extra = _ADAPTERS[client]
    try:
        opened: Callable[[Mapping[str, object]], Broker] = getattr(import_module(module), adapter)
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("topicserve"):
            raise
        raise BackendConfigError(
            f'kafka.client "{client}" needs the library {error.name}: install {extra}'
        ) from error
    return opened(settings)


def _check_servers(servers: str) -> None:
    """Raise BackendConfigError for what is no address: a client may only say that none answers."""
    listed = [server.strip() for server in servers.split(",") if server.strip()]
    found = [_SERVER.fullmatch(server) for server in listed]
    wrong = [
        number
        for number, server in enumerate(found, start=1)
        if server is None or not 0 < int(server[1]) < 65_536
    ]
    if wrong or not listed:
        which = f"number {wrong[0]} is not" if wrong else "found none"
        raise BackendConfigError(
            "bootstrap.servers must be host:port[,host:port...], with an IPv6 address in brackets; "
            + which
        )
