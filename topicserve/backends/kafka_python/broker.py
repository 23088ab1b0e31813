"""The broker port on kafka-python, the default client."""

from collections.abc import Mapping

from kafka.partitioner.sticky import StickyPartitioner

from topicserve.backends.defaults import KAFKA_PYTHON
from topicserve.backends.in_flight import InFlight
from topicserve.backends.kafka_choices import checked
from topicserve.backends.kafka_python.admin import KafkaPythonAdmin
from topicserve.backends.kafka_python.connection import ClientNetwork
from topicserve.backends.kafka_python.producer import KafkaPythonProducer
from topicserve.backends.kafka_python.producer_client import KafkaPythonProducerClient
from topicserve.backends.kafka_python.reading.consumer import KafkaPythonConsumer
from topicserve.backends.kafka_python.settings import to_kafka_python
from topicserve.backends.kafka_python.silence import SilentBrokers
from topicserve.backends.kafka_settings import (
    DELIVERY_PLACES,
    MAX_DECOMPRESSED_BYTES,
    MAX_IN_FLIGHT_BYTES,
    MAX_IN_FLIGHT_RECORDS,
    REQUEST_TIMEOUT_MS,
    for_admin,
    for_consumer,
    for_producer,
    integer,
    take_flag,
    take_integer,
)

# How long `send` waits for a topic that is new to it.
_MAX_BLOCK_MS = 5_000


class KafkaPythonBroker:
    """Opens kafka-python's clients. They connect when they are first used."""

    def __init__(self, settings: Mapping[str, object]) -> None:
        """Raise BackendConfigError for a setting that none of the clients has."""
        self._settings = checked(KAFKA_PYTHON, settings)
        self._silent = SilentBrokers()
        to_kafka_python(self._for_admin(), "admin")

    def consumer(
        self, group_id: str, settings: Mapping[str, object] | None = None
    ) -> KafkaPythonConsumer:
        merged = for_consumer({}, self._settings, group_id, settings or {})
        max_decompressed_bytes = take_integer(merged, MAX_DECOMPRESSED_BYTES)
        # A fetch may wait for records first; kafka-python refuses one that waits for longer.
        fetch_wait_ms = integer({"fetch.max.wait.ms": 0} | merged, "fetch.max.wait.ms")
        merged = {"request.timeout.ms": REQUEST_TIMEOUT_MS + fetch_wait_ms} | merged
        # The port commits explicit offsets only.
        arguments = to_kafka_python(merged, "consumer") | {"enable_auto_commit": False}
        return KafkaPythonConsumer(
            arguments,
            network=ClientNetwork(self._silent),
            max_decompressed_bytes=max_decompressed_bytes,
        )

    def producer(self, settings: Mapping[str, object] | None = None) -> KafkaPythonProducer:
        merged = for_producer({}, self._settings, settings or {})
        # What a delivery timeout must be longer than.
        longest = integer(merged, "delivery.timeout.ms") - integer(merged, "linger.ms") - 1
        request_timeout_ms = max(min(REQUEST_TIMEOUT_MS, longest), 1)
        merged = {"max.block.ms": _MAX_BLOCK_MS, "request.timeout.ms": request_timeout_ms} | merged
        in_flight = InFlight(
            take_integer(merged, MAX_IN_FLIGHT_RECORDS),
            take_integer(merged, MAX_IN_FLIGHT_BYTES),
            integer(merged, "delivery.timeout.ms") / 1000,
        )
        take_flag(merged, DELIVERY_PLACES)  # kafka-python tells every record's place
        arguments = to_kafka_python(merged, "producer") | {"partitioner": StickyPartitioner()}
        return KafkaPythonProducer(
            KafkaPythonProducerClient(arguments, self._silent),
            in_flight,
            is_transactional="transactional_id" in arguments,
        )

    def admin(self) -> KafkaPythonAdmin:
        return KafkaPythonAdmin(to_kafka_python(self._for_admin(), "admin"), silent=self._silent)

    def _for_admin(self) -> dict[str, object]:
        return {"request.timeout.ms": REQUEST_TIMEOUT_MS} | for_admin(self._settings)
