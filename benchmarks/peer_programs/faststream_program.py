"""The job on FastStream's broker for confluent-kafka: a batch subscriber, a batch of results.

A batch is acknowledged when its results are published. One that fails is acknowledged too, so that
those behind it are answered: the other policy reads it again and again.
"""

import asyncio
import logging

from faststream import AckPolicy, FastStream
from faststream.confluent import KafkaBroker, KafkaMessage, KafkaPublishMessage

from benchmarks.hand_loops.job import BATCH_RECORDS, Places, open_job

POLLING_INTERVAL_SECONDS = 0.02


def main() -> None:
    places = Places.from_environment()
    answer = open_job(places)
    broker = KafkaBroker(places.bootstrap_servers, linger_ms=5, log_level=logging.WARNING)

    @broker.subscriber(  # type: ignore[untyped-decorator]  # is not in our environment
        places.input_topic,
        group_id=places.group_id,
        batch=True,
        max_records=BATCH_RECORDS,
        polling_interval=POLLING_INTERVAL_SECONDS,
        auto_offset_reset="earliest",
        isolation_level="read_committed",
        ack_policy=AckPolicy.ACK,
        no_reply=True,
    )
    async def predict(message: KafkaMessage) -> None:
        records = message.raw_message
        results = [
            KafkaPublishMessage(value, key=record.key())
            for record, value in zip(
                records, answer([record.value() for record in records]), strict=True
            )
        ]
        await broker.publish_batch(*results, topic=places.output_topic)

    asyncio.run(FastStream(broker, logger=None).run())


if __name__ == "__main__":
    main()
