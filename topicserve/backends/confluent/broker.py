"""The broker port on confluent-kafka, the fast client.

Settings: what all clients share, then what each needs, then the user's, each over the one before.
"""

from collections.abc import Callable, Mapping
from typing import Any

import confluent_kafka
from confluent_kafka import KafkaError

from topicserve.backends.confluent.admin import ConfluentAdmin
from topicserve.backends.confluent.batch_limit import BatchLimit
from topicserve.backends.confluent.producer import ConfluentProducer
from topicserve.backends.confluent.reading.careful import CarefulReader, known_settings
from topicserve.backends.confluent.reading.consumer import ConfluentConsumer
from topicserve.backends.confluent.settings import opened, to_confluent
from topicserve.backends.defaults import CONFLUENT
from topicserve.backends.in_flight import InFlight
from topicserve.backends.kafka_choices import checked
from topicserve.backends.kafka_settings import (
    DELIVERY_PLACES,
    MAX_DECOMPRESSED_BYTES,
    MAX_IN_FLIGHT_BYTES,
    MAX_IN_FLIGHT_RECORDS,
    Settings,
    for_admin,
    for_consumer,
    for_producer,
    integer,
    take_flag,
    take_integer,
)

# They replace defaults for both clients; a user's settings replace them.
CONSUMER_DEFAULTS: Settings = {
    # Its prefetch, whatever the number of partitions: what waits for long has left the processor's
    # cache before its turn comes, and in memory that was never used before it costs most.
    "queued.max.messages.kbytes": 2 * 1024,
    "max.partition.fetch.bytes": 256 * 1024,
    # How soon it fetches more when there is room again; by default after a second.
    "fetch.queue.backoff.ms": 10,
    # Altered bytes would be predicted on; kafka-python and Java check by default.
    "check.crcs": True,
    # A fetch that waits for new records holds up the fetch of a partition that is resumed.
    "fetch.max.wait.ms": 100,
}
PRODUCER_DEFAULTS: Settings = {
    # As Kafka's own clients do it; librdkafka's default would send a key elsewhere.
    "partitioner": "murmur2_random",
    # Kafka's default, where librdkafka's is 1,000,000.
    "max.request.size": 1024 * 1024,
    # A topic that does not exist is found out before the first record is sent.
    "topic.metadata.propagation.max.ms": 5_000,
}
# librdkafka's default, and the largest that it takes.
_MIN_RECEIVE_BYTES = 100_000_000
_MAX_RECEIVE_BYTES = 2_147_483_647
# What the adapter needs as it is.
_CONSUMER_FIXED: dict[str, object] = {"enable.auto.commit": False, "enable.partition.eof": True}
# The port's bounds hold, and a list that is larger than them goes out alone.
_PRODUCER_FIXED: dict[str, object] = {
    "queue.buffering.max.messages": 0,
    "queue.buffering.max.kbytes": 2_147_483_647,
}
# librdkafka looks once a second for records whose delivery timeout is over, and alone knows which
# of a list were written; only if it says nothing, all are taken for timed out.
_LATE_SECONDS = 2.0


class ConfluentBroker:
    """Opens confluent-kafka's clients."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        """Raise BackendConfigError for a setting that the library does not have."""
        self._settings = checked(CONFLUENT, settings)
        self.admin().close()

    def consumer(
        self, group_id: str, settings: Mapping[str, object] | None = None
    ) -> ConfluentConsumer:
        merged = for_consumer(CONSUMER_DEFAULTS, self._settings, group_id, settings or {})
        max_decompressed_bytes = take_integer(merged, MAX_DECOMPRESSED_BYTES)
        # What librdkafka lets zstd decompress to; it has no such limit for the other codecs.
        longest = max(max_decompressed_bytes, _MIN_RECEIVE_BYTES)
        merged = {"receive.message.max.bytes": min(longest, _MAX_RECEIVE_BYTES)} | merged
        configuration = to_confluent(merged) | _CONSUMER_FIXED
        return ConfluentConsumer(
            _opener(confluent_kafka.Consumer, configuration),
            careful=CarefulReader(known_settings(merged), max_decompressed_bytes),
            is_cooperative=_is_cooperative(merged),
            is_static=bool(merged.get("group.instance.id")),
        )

    def producer(self, settings: Mapping[str, object] | None = None) -> ConfluentProducer:
        merged = for_producer(PRODUCER_DEFAULTS, self._settings, settings or {})
        in_flight = InFlight(
            take_integer(merged, MAX_IN_FLIGHT_RECORDS),
            take_integer(merged, MAX_IN_FLIGHT_BYTES),
            integer(merged, "delivery.timeout.ms") / 1000 + _LATE_SECONDS,
        )
        if "transactional.id" in merged:
            # librdkafka refuses a delivery timeout that is longer than the transaction's.
            longest = integer({"transaction.timeout.ms": 60_000} | merged, "transaction.timeout.ms")
            merged["delivery.timeout.ms"] = min(integer(merged, "delivery.timeout.ms"), longest)
        # `delivery_reports` says why.
        only_errors = not take_flag(merged, DELIVERY_PLACES)
        fixed = _PRODUCER_FIXED | {"delivery.report.only.error": only_errors}
        configuration = to_confluent(merged) | fixed
        open_client = _opener(confluent_kafka.Producer, configuration)
        batches = BatchLimit(configuration)
        return ConfluentProducer(
            open_client,
            in_flight,
            batches=batches,
            is_idempotent=str(merged["enable.idempotence"]).lower() == "true",
        )

    def admin(self) -> ConfluentAdmin:
        return ConfluentAdmin(to_confluent(for_admin(self._settings)))


def _is_cooperative(settings: Mapping[str, object]) -> bool:
    strategy = str(settings.get("partition.assignment.strategy", ""))
    return "cooperative" in strategy.lower() or settings.get("group.protocol") == "consumer"


def _opener(
    kind: Callable[[dict[str, Any]], Any], configuration: dict[str, Any]
) -> Callable[[Callable[[KafkaError], None]], Any]:
    return lambda on_error: opened(kind, configuration | {"error_cb": on_error})
