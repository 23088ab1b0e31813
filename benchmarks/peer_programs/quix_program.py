"""The job on Quix Streams: a sink that gathers records between checkpoints.

A call of the model for each record would be its other way. The sink writes at each checkpoint,
before the offsets are committed, so a record counts as read once its result is acknowledged.
"""

from typing import Any

from confluent_kafka import Producer
from quixstreams import Application
from quixstreams.sinks import BatchingSink, SinkBatch

from benchmarks.hand_loops.job import BATCH_RECORDS, Places, open_job

# A batch gathers for each partition, of which the input has four.
COMMIT_EVERY = 4 * BATCH_RECORDS
COMMIT_INTERVAL_SECONDS = 0.1


class PredictionSink(BatchingSink):  # type: ignore[misc]  # is not in our environment
    """Answers a partition's records at once."""

    def __init__(self, places: Places) -> None:
        super().__init__()
        self._topic = places.output_topic
        self._answer = open_job(places)
        self._producer = Producer(
            {
                "bootstrap.servers": places.bootstrap_servers,
                "linger.ms": 5,
                "enable.idempotence": True,
                "queue.buffering.max.messages": 200_000,
            }
        )

    def write(self, batch: SinkBatch) -> None:
        """Answer what has gathered of a partition."""
        for items in batch.iter_chunks(BATCH_RECORDS):
            answers = self._answer([item.value for item in items])
            for item, value in zip(items, answers, strict=True):
                self._producer.produce(self._topic, value, key=item.key, headers=item.headers)
            self._producer.poll(0)

    def flush(self) -> None:
        """Answer what has gathered, and return when that is acknowledged."""
        super().flush()
        self._producer.flush()


def main() -> None:
    places = Places.from_environment()
    application: Any = Application(
        broker_address=places.bootstrap_servers,
        consumer_group=places.group_id,
        auto_offset_reset="earliest",
        commit_every=COMMIT_EVERY,
        commit_interval=COMMIT_INTERVAL_SECONDS,
        consumer_poll_timeout=COMMIT_INTERVAL_SECONDS,
        # A record that cannot be processed is skipped, and the application goes on.
        on_processing_error=lambda *_: True,
        loglevel="WARNING",
    )
    topic = application.topic(
        places.input_topic, key_deserializer="bytes", value_deserializer="bytes"
    )
    application.dataframe(topic).sink(PredictionSink(places))
    application.run()


if __name__ == "__main__":
    main()
