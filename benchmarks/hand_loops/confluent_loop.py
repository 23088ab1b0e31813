"""The strong hand loop: the job on confluent-kafka."""

import time

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.hand_loops.job import BATCH_RECORDS, COMMIT_INTERVAL_SECONDS, Places, open_job


def main() -> None:
    places = Places.from_environment()
    answer = open_job(places)
    consumer = Consumer(
        {
            "bootstrap.servers": places.bootstrap_servers,
            "group.id": places.group_id,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
            "fetch.max.bytes": 8 << 20,
            "queued.max.messages.kbytes": 32768,
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": places.bootstrap_servers,
            "linger.ms": 5,
            "enable.idempotence": True,
            "queue.buffering.max.messages": 200_000,
        }
    )
    consumer.subscribe([places.input_topic])
    committed_at = time.monotonic()
    next_offsets: dict[tuple[str, int], int] = {}
    while True:
        records = [m for m in consumer.consume(BATCH_RECORDS, 0.005) if not m.error()]
        if records:
            answers = answer([m.value() for m in records])
            for m, value in zip(records, answers, strict=True):
                producer.produce(places.output_topic, value, key=m.key(), headers=m.headers())
                next_offsets[m.topic(), m.partition()] = m.offset() + 1
        producer.poll(0)
        if next_offsets and time.monotonic() - committed_at > COMMIT_INTERVAL_SECONDS:
            producer.flush()
            consumer.commit(
                offsets=[TopicPartition(t, p, o) for (t, p), o in next_offsets.items()],
                asynchronous=True,
            )
            committed_at, next_offsets = time.monotonic(), {}


if __name__ == "__main__":
    main()
