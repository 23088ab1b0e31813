"""What a worker sets of Kafka's settings; a user's own settings win over each of them."""

import uuid
from collections.abc import Mapping

from topicserve.backends.broker import Broker
from topicserve.backends.kafka_clients import open_broker
from topicserve.backends.kafka_settings import MAX_DECOMPRESSED_BYTES, unless_set
from topicserve.worker.config.schema import Client, Guarantee, WorkerConfig

# The topics' own limits decide what is too large, not the client's default of 1 MiB: a dead letter
# is a little larger than its record, which may be as large as the input topic allows.
MAX_RECORD_BYTES = 16 * 1024 * 1024

# How long results wait for others to be sent with. kafka-python is given a list as a whole;
# librdkafka takes it record by record, and would send the first ones alone.
_LINGER_MS = {Client.KAFKA_PYTHON: 0, Client.CONFLUENT: 1}
# Differences are for reading later: they may wait for others to be sent with.
_SHADOW_LINGER_MS = 100


def open_workers_broker(config: WorkerConfig, worker_id: str) -> Broker:
    """Return the broker of the configuration; it connects to nothing yet."""
    kafka = config.kafka
    return open_broker(
        kafka.client.value,
        {
            "bootstrap.servers": kafka.bootstrap_servers,
            "client.id": worker_id,
            **kafka.settings,
        },
    )


def consumer_settings(config: WorkerConfig) -> dict[str, object]:
    """Return the settings of the consumer of the input topics."""
    kafka = config.kafka
    settings: dict[str, object] = {
        "auto.offset.reset": "earliest",
        "isolation.level": "read_committed",
        MAX_DECOMPRESSED_BYTES: kafka.max_decompressed_bytes,
    }
    if kafka.group_instance_id:
        settings["group.instance.id"] = kafka.group_instance_id
    return {**unless_set(settings, kafka.settings), **kafka.consumer_settings}


def producer_settings(config: WorkerConfig, batches: Mapping[str, object]) -> dict[str, object]:
    """Return the settings of the producer of results; `batches` are what their topics ask for."""
    kafka, delivery = config.kafka, config.delivery
    settings: dict[str, object] = {
        **batches,
        "linger.ms": _LINGER_MS[kafka.client],
        "max.request.size": MAX_RECORD_BYTES,
        "delivery.timeout.ms": int(delivery.delivery_timeout_seconds * 1000),
    }
    if delivery.guarantee is Guarantee.EXACTLY_ONCE:
        settings["transaction.timeout.ms"] = config.transaction_timeout_ms
        settings["transactional.id"] = delivery.transactional_id or (
            f"{kafka.group_id}-{kafka.group_instance_id or uuid.uuid4()}"
        )
    return {**unless_set(settings, kafka.settings), **kafka.producer_settings}


def shadow_producer_settings(config: WorkerConfig) -> dict[str, object]:
    """Return the settings of the producer of a shadow's differences; it has no transactions."""
    kafka = config.kafka
    defaults = {"linger.ms": _SHADOW_LINGER_MS}
    return {**unless_set(defaults, kafka.settings), **kafka.producer_settings}
