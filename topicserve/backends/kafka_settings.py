"""Kafka's settings as both adapters take them: our defaults, and who is meant by which.

What is set later wins: the defaults of both clients, those of one client, what a user sets for all
connections, what the user sets for one.
"""

from collections.abc import Mapping

from topicserve.backends.errors import BackendConfigError
from topicserve.backends.kafka_choices import described

Settings = Mapping[str, object]

MAX_IN_FLIGHT_RECORDS = "topicserve.max.in.flight.records"
MAX_IN_FLIGHT_BYTES = "topicserve.max.in.flight.bytes"
DELIVERY_PLACES = "topicserve.delivery.places"
MAX_DECOMPRESSED_BYTES = "topicserve.max.decompressed.bytes"

# Kafka's own, where kafka-python's is 30 s and librdkafka's 10 s: for that long a client would not
# notice a broker that is back.
RECONNECT_BACKOFF_MAX_MS = 1_000
# A broker whose machine is lost closes no connection: what was asked of it is given up after this
# time, and the others are asked who leads now. By then they have elected someone: Kafka takes a
# broker for dead after 9 s. With the clients' own, 30 and 60 s, records wait for that long.
REQUEST_TIMEOUT_MS = 10_000

# A killed member's partitions are to be served again within 12 s: its session must end, the others
# must hear of it with their next heartbeat, and all join again.
_SESSION_TIMEOUT_MS = 9_000
_HEARTBEAT_INTERVAL_MS = 2_000

CONSUMER_DEFAULTS: Settings = {
    "partition.assignment.strategy": "cooperative-sticky",
    "session.timeout.ms": _SESSION_TIMEOUT_MS,
    # Kafka's 1 MiB halves what kafka-python reads in a second.
    "max.partition.fetch.bytes": 4 * 1024 * 1024,
    # A topic that is deleted while it is read must not come back empty, with the brokers' default
    # number of partitions; Kafka's and kafka-python's own default is true.
    "allow.auto.create.topics": False,
    # librdkafka's own default differs.
    "isolation.level": "read_uncommitted",
    MAX_DECOMPRESSED_BYTES: 128 * 1024 * 1024,
}
DEFAULT_BATCH_BYTES = 256 * 1024
PRODUCER_DEFAULTS: Settings = {
    "acks": "all",
    "enable.idempotence": True,
    "delivery.timeout.ms": 120_000,
    "linger.ms": 5,
    "batch.size": DEFAULT_BATCH_BYTES,
    MAX_IN_FLIGHT_RECORDS: 50_000,
    MAX_IN_FLIGHT_BYTES: 64 * 1024 * 1024,
}

# librdkafka's names of settings that have a default here, with Kafka's own.
ALIASES: Mapping[str, str] = {
    "fetch.wait.max.ms": "fetch.max.wait.ms",
    "fetch.message.max.bytes": "max.partition.fetch.bytes",
    "message.max.bytes": "max.request.size",
    "message.timeout.ms": "delivery.timeout.ms",
    "queue.buffering.max.ms": "linger.ms",
    "request.required.acks": "acks",
}

# What a consumer alone has, and what a producer alone: settings for every connection are given to
# whom they mean.
_CONSUMERS_ONLY = (
    "allow.auto.create.topics",
    "auto.",
    "check.crcs",
    "enable.auto.",
    "exclude.internal.topics",
    "fetch.",
    "group.",
    "heartbeat.",
    "isolation.level",
    "max.partition.",
    "max.poll.",
    "partition.assignment.strategy",
    "queued.",
    "session.timeout.ms",
    MAX_DECOMPRESSED_BYTES,
)
_PRODUCERS_ONLY = (
    "acks",
    "batch.",
    "buffer.memory",
    "compression.",
    "delivery.timeout.ms",
    "enable.idempotence",
    "linger.ms",
    "max.block.ms",
    "max.in.flight.",
    "max.request.size",
    "partitioner",
    "queue.buffering.",
    "retries",
    "sticky.",
    DELIVERY_PLACES,
    "topicserve.max.in.flight.",
    "transaction",
)


def for_consumer(
    client: Settings, common: Settings, group_id: str, own: Settings
) -> dict[str, object]:
    """Return a consumer's settings: defaults, the client's, what is meant for all, its own."""
    settings = {
        **CONSUMER_DEFAULTS,
        **client,
        **_without(in_kafkas_names(common), _PRODUCERS_ONLY),
        **in_kafkas_names(own),
    }
    if settings.pop("enable.auto.commit", False) not in (False, "false"):
        raise BackendConfigError(
            "enable.auto.commit must stay false: offsets are committed with the results"
        )
    session_timeout_ms = integer(settings, "session.timeout.ms")
    # Three heartbeats must fit, also into a shorter session than the default.
    heartbeat_ms = min(_HEARTBEAT_INTERVAL_MS, session_timeout_ms // 3)
    return {"heartbeat.interval.ms": heartbeat_ms} | settings | {"group.id": group_id}


def for_producer(client: Settings, common: Settings, own: Settings) -> dict[str, object]:
    """Return a producer's settings: defaults, the client's, what is meant for all, its own."""
    return {
        **PRODUCER_DEFAULTS,
        **client,
        **_without(in_kafkas_names(common), _CONSUMERS_ONLY),
        **in_kafkas_names(own),
    }


def for_admin(common: Settings) -> dict[str, object]:
    """Return an admin's settings: what is meant for all."""
    return _without(in_kafkas_names(common), (*_CONSUMERS_ONLY, *_PRODUCERS_ONLY))


def in_kafkas_names(settings: Settings) -> dict[str, object]:
    """Return the settings with the names that defaults have; of two that mean one, the later."""
    return {ALIASES.get(name, name): value for name, value in settings.items()}


def unless_set(defaults: Settings, settings: Settings) -> dict[str, object]:
    """Return the defaults that no setting replaces, under whichever name."""
    given = in_kafkas_names(settings)
    return {name: value for name, value in defaults.items() if name not in given}


def integer(settings: Settings, name: str) -> int:
    """Return a setting as an integer. Raises BackendConfigError, which names it."""
    try:
        return int(str(settings[name]))
    except ValueError:
        raise BackendConfigError(
            f"{name} must be an integer, {described(settings[name])}"
        ) from None


def take_integer(settings: dict[str, object], name: str) -> int:
    """Take a positive integer out of the settings. Raises BackendConfigError, which names it."""
    value = integer(settings, name)
    if value < 1:
        raise BackendConfigError(f"{name} must be at least 1")
    del settings[name]
    return value


def take_flag(settings: dict[str, object], name: str) -> bool:
    """Take a setting that is true or false, by default false, out of the settings."""
    value = settings.pop(name, False)
    if str(value).lower() not in ("true", "false"):
        raise BackendConfigError(f"{name} must be true or false, {described(value)}")
    return str(value).lower() == "true"


def _without(settings: Settings, prefixes: tuple[str, ...]) -> dict[str, object]:
    return {name: value for name, value in settings.items() if not name.startswith(prefixes)}
