"""A bare echo on confluent-kafka: every record goes back as it came, as soon as it is there."""

from confluent_kafka import Consumer, Producer

from benchmarks.hand_loops.job import MAX_MESSAGE_BYTES, Places

POLL_SECONDS = 0.1


def main() -> None:
    places = Places.from_environment()
    consumer = Consumer(
        {
            "bootstrap.servers": places.bootstrap_servers,
            "group.id": places.group_id,
            "auto.offset.reset": "earliest",
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": places.bootstrap_servers,
            "linger.ms": 0,
            "message.max.bytes": MAX_MESSAGE_BYTES,
        }
    )
    consumer.subscribe([places.input_topic])
    while True:
        record = consumer.poll(POLL_SECONDS)
        if record is not None and not record.error():
            producer.produce(
                places.output_topic, record.value(), key=record.key(), headers=record.headers()
            )
        producer.poll(0)


if __name__ == "__main__":
    main()
