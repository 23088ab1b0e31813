"""A bare echo on kafka-python: every record goes back as it came, as soon as it is there."""

from kafka import KafkaConsumer, KafkaProducer

from benchmarks.hand_loops.job import MAX_MESSAGE_BYTES, Places

POLL_MS = 1_000
"""Long, since kafka-python forgets a join that ends between two polls. A poll returns as soon as
there is a record."""


def main() -> None:
    places = Places.from_environment()
    consumer = KafkaConsumer(
        places.input_topic,
        bootstrap_servers=places.bootstrap_servers,
        group_id=places.group_id,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        # Joining before the topic is known assigns nothing, until the metadata is asked for again.
        metadata_max_age_ms=5_000,
    )
    producer = KafkaProducer(
        bootstrap_servers=places.bootstrap_servers,
        linger_ms=0,
        max_request_size=MAX_MESSAGE_BYTES,
    )
    while True:
        for partition, records in consumer.poll(POLL_MS).items():
            for record in records:
                producer.send(
                    places.output_topic,
                    record.value,
                    key=record.key,
                    headers=record.headers,
                    partition=partition.partition,
                )


if __name__ == "__main__":
    main()
