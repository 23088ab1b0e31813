"""Opens what a client stands on, from what its caller says; nothing is connected yet."""

import uuid
from collections.abc import Mapping, Sequence

from topicserve.backends.broker import Consumer
from topicserve.backends.kafka_clients import open_broker
from topicserve.backends.kafka_settings import DELIVERY_PLACES, unless_set
from topicserve.backends.references.body_reader import BodyReader
from topicserve.producer import arguments
from topicserve.producer.client.core import ClientCore
from topicserve.producer.client.listener import ResultListener
from topicserve.producer.client.requests import PendingRequests
from topicserve.producer.connections import open_store
from topicserve.producer.encoder import RecordEncoder
from topicserve.producer.in_progress.backlog import Backlog
from topicserve.producer.publisher import Publisher
from topicserve.producer.record_producer import (
    DEFAULT_TIMEOUT_SECONDS,
    MAX_IN_FLIGHT_BYTES,
    MAX_IN_FLIGHT_RECORDS,
)

DEFAULT_SOURCE = "/topicserve/client"

GROUP_PREFIX = "topicserve-client-"

_PRODUCER = {
    # A caller waits for each record: none waits for others to go with.
    "linger.ms": 0,
    "delivery.timeout.ms": int(DEFAULT_TIMEOUT_SECONDS * 1000),
    DELIVERY_PLACES: True,
}
_CONSUMER = {
    # For partitions that are added later; the others are read from where the client started.
    "auto.offset.reset": "earliest",
    # Results of transactions that were aborted are no results.
    "isolation.level": "read_committed",
}


def open_core(
    bootstrap_servers: str | Sequence[str],
    redis_url: str | None,
    input_topic: str,
    output_topic: str,
    *,
    dead_letter_topic: str | None,
    servable: str | None,
    source: str,
    client: str,
    kafka_settings: Mapping[str, object] | None,
    key_prefix: str,
    ttl_seconds: float,
    bodies: BodyReader | None = None,
) -> ClientCore:
    """Return a client's core. Raises BackendConfigError naming the setting that is wrong."""
    topics = [arguments.topic_name(output_topic)]
    if dead_letter_topic is not None:
        topics.append(arguments.topic_name(dead_letter_topic))
    encoder = RecordEncoder(
        arguments.topic_name(input_topic), source, arguments.text_or_none(servable, "servable")
    )
    store = open_store(redis_url, key_prefix, ttl_seconds)
    servers: dict[str, object] = {"bootstrap.servers": arguments.server_list(bootstrap_servers)}
    settings = arguments.settings_of(kafka_settings)
    broker = open_broker(client, servers | settings)
    requests = PendingRequests(bodies)

    def open_consumer() -> Consumer:
        return broker.consumer(f"{GROUP_PREFIX}{uuid.uuid4()}", unless_set(_CONSUMER, settings))

    return ClientCore(
        encoder,
        Publisher(
            broker.producer(unless_set(_PRODUCER, settings)),
            store,
            Backlog(MAX_IN_FLIGHT_RECORDS, MAX_IN_FLIGHT_BYTES),
            DEFAULT_TIMEOUT_SECONDS,
        ),
        ResultListener(topics, open_consumer, broker.admin, requests),
        requests,
        has_dead_letters=dead_letter_topic is not None,
    )
