"""Opens what a producer stands on, from what its caller says; nothing is connected yet."""

from collections.abc import Mapping, Sequence

from topicserve.backends.broker import Producer
from topicserve.backends.kafka_clients import open_broker
from topicserve.backends.kafka_settings import DELIVERY_PLACES
from topicserve.backends.redis_store import RedisMetadataStore
from topicserve.producer import arguments


def open_store(
    redis_url: str | None, key_prefix: str, ttl_seconds: float
) -> RedisMetadataStore | None:
    """Return the metadata store, None without a URL. Raises BackendConfigError."""
    if arguments.text_or_none(redis_url, "redis_url") is None:
        return None
    return RedisMetadataStore(
        arguments.text(redis_url, "redis_url"),
        key_prefix=arguments.text(key_prefix, "key_prefix"),
        ttl_seconds=arguments.seconds(ttl_seconds, "ttl_seconds"),
    )


def open_producer(
    bootstrap_servers: str | Sequence[str],
    client: str,
    kafka_settings: Mapping[str, object] | None,
    timeout_seconds: float,
) -> Producer:
    """Return a Kafka producer that tells where its records are. Raises BackendConfigError."""
    limit = arguments.seconds(timeout_seconds, "timeout_seconds", minimum=0.001)
    settings: dict[str, object] = {
        "delivery.timeout.ms": int(limit * 1000),
        DELIVERY_PLACES: True,
    }
    settings |= arguments.settings_of(kafka_settings)
    servers = arguments.server_list(bootstrap_servers)
    return open_broker(client, {"bootstrap.servers": servers}).producer(settings)
