"""The job on confluent-kafka, each record alone and as soon as it is there, on one thread.

What no batch, no other thread and no care for throughput make cheaper: the least that a record
takes where few come.
"""

import time

from confluent_kafka import Consumer, Producer, TopicPartition

from benchmarks.hand_loops.job import COMMIT_INTERVAL_SECONDS, Places, open_job

POLL_SECONDS = 0.1


def main() -> None:
    places = Places.from_environment()
    answer = open_job(places)
    consumer = Consumer(
        {
            "bootstrap.servers": places.bootstrap_servers,
            "group.id": places.group_id,
            "enable.auto.commit": False,
            "auto.offset.reset": "earliest",
        }
    )
    producer = Producer(
        {
            "bootstrap.servers": places.bootstrap_servers,
            "linger.ms": 0,
            "enable.idempotence": True,
        }
    )
    consumer.subscribe([places.input_topic])
    committed_at = time.monotonic()
    next_offsets: dict[tuple[str, int], int] = {}
    while True:
        record = consumer.poll(POLL_SECONDS)
        if record is not None and not record.error():
            (value,) = answer([record.value()])
            producer.produce(places.output_topic, value, key=record.key(), headers=record.headers())
            next_offsets[record.topic(), record.partition()] = record.offset() + 1
        producer.poll(0)
        if next_offsets and time.monotonic() - committed_at > COMMIT_INTERVAL_SECONDS:
            consumer.commit(
                offsets=[TopicPartition(t, p, o) for (t, p), o in next_offsets.items()],
                asynchronous=True,
            )
            committed_at, next_offsets = time.monotonic(), {}


if __name__ == "__main__":
    main()
