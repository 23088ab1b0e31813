"""Answers records as a worker would, in a thread of the test: the values doubled."""

import threading
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from tests.support.traffic.answers import a_dead_letter
from topicserve.backends.kafka_clients import open_broker
from topicserve.producer.result_reader import open_consumer
from topicserve.producer.topic_reader import TopicReader
from topicserve.wire.dead_letter import Reason
from topicserve.wire.input_record import decode_input
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord
from topicserve.wire.result import Metadata, MetadataStatus
from topicserve.wire.result_encoder import Origin, encode_results


@contextmanager
def echo(servers: str, client: str, topic: str) -> Iterator[None]:
    """Answer TOPIC to TOPIC.results; what is no number becomes a dead letter in TOPIC.dead."""
    stopped = threading.Event()
    thread = threading.Thread(target=_run, args=(servers, client, topic, stopped))
    thread.start()
    try:
        yield
    finally:
        stopped.set()
        thread.join()


def _run(servers: str, client: str, topic: str, stopped: threading.Event) -> None:
    producer = open_broker(client, {"bootstrap.servers": servers}).producer({"linger.ms": 0})
    reader = TopicReader(open_consumer(servers, None, client, None), topic, lambda record: record)
    with reader:
        while not stopped.is_set():
            records = list(reader.read(limit=1, timeout_seconds=0))
            if records:
                producer.send([_answer(topic, one) for one in records], lambda _: None)
    producer.close(5)


def _answer(topic: str, polled: KafkaRecord) -> OutgoingRecord:
    record = decode_input(polled)
    if not isinstance(record.payload, float):
        sent = OutgoingRecord(topic, polled.key, polled.value, polled.headers)
        letter = a_dead_letter(sent, Reason.INVALID_INPUT, "no number")
        return OutgoingRecord(f"{topic}.dead", letter.key, letter.value, letter.headers)
    origin = Origin("double", 1, "serving_default", "worker-1")
    outputs = {"y": np.array([2 * record.payload])}
    metadata = [Metadata(MetadataStatus.ABSENT)]
    (result,) = encode_results(
        f"{topic}.results", origin, [record], [polled.key], outputs, metadata
    )
    return result
