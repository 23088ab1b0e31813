"""The job on kafka-python, as careful as the strong hand loop.

Results go to the partition with the input's number: order is kept, and the client's murmur2 of
every key (20-30 us, pure Python) is saved.
"""

import time
from typing import Any

from kafka import KafkaConsumer, KafkaProducer
from kafka.structs import OffsetAndMetadata

from benchmarks.hand_loops.job import BATCH_RECORDS, COMMIT_INTERVAL_SECONDS, Places, open_job

# kafka-python never joins a group on Apache Kafka when polled with less than 20 ms.
POLL_MS = 50


def open_clients(places: Places) -> tuple[Any, Any]:
    """Return the consumer, subscribed, and the producer; also the bare echo's."""
    consumer = KafkaConsumer(
        places.input_topic,
        bootstrap_servers=places.bootstrap_servers,
        group_id=places.group_id,
        enable_auto_commit=False,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        max_partition_fetch_bytes=4 << 20,
        # Joining before the topic is known assigns nothing, until the metadata is asked for again.
        metadata_max_age_ms=5_000,
    )
    producer = KafkaProducer(
        bootstrap_servers=places.bootstrap_servers,
        linger_ms=5,
        batch_size=256 << 10,
    )
    return consumer, producer


def main() -> None:
    places = Places.from_environment()
    answer = open_job(places)
    consumer, producer = open_clients(places)
    committed_at = time.monotonic()
    next_offsets: dict[Any, Any] = {}
    while True:
        polled = consumer.poll(POLL_MS, max_records=BATCH_RECORDS)
        records = [record for some in polled.values() for record in some]
        if records:
            answers = answer([record.value for record in records])
            for record, value in zip(records, answers, strict=True):
                producer.send(
                    places.output_topic,
                    value,
                    key=record.key,
                    headers=record.headers,
                    partition=record.partition,
                )
            for partition, some in polled.items():
                next_offsets[partition] = OffsetAndMetadata(some[-1].offset + 1, "", -1)
        if next_offsets and time.monotonic() - committed_at > COMMIT_INTERVAL_SECONDS:
            producer.flush()
            consumer.commit_async(next_offsets)
            committed_at, next_offsets = time.monotonic(), {}


if __name__ == "__main__":
    main()
