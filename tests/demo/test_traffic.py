import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import orjson
import pytest

from tests.support.kafka.kafka_doubles import MemoryLog, MemoryProducer
from tests.support.stages.fakes import MemoryMetadataStore, ReadConsumer
from tests.support.traffic.demo_results import a_ledger, a_result
from topicserve.demo.digits import Digits
from topicserve.demo.ledger import DemoLedger
from topicserve.demo.traffic import Traffic
from topicserve.producer.record_producer import RecordProducer
from topicserve.producer.result_reader import ResultReader
from topicserve.wire.kafka_record import TopicPartition

DIGITS = Digits(np.full((3, 64), 0.5, np.float32), np.array([7, 1, 3]))
LIMIT_SECONDS = 10.0


class NeverStopped(threading.Event):
    """Remembers how long it was waited for, and waits for nothing."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[float | None] = []

    def wait(self, timeout: float | None = None) -> bool:
        self.waits.append(timeout)
        return False


def publish_one_pass(ledger: DemoLedger, store: MemoryMetadataStore, log: MemoryLog) -> None:
    """Publish the three digits once, as fast as it goes."""
    traffic = Traffic(DIGITS, ledger, records_per_second=1e9, now=lambda: 123.5)
    traffic.finish()
    with RecordProducer(MemoryProducer(log), store, "digits") as producer:
        traffic.publish(producer)


def test_every_image_is_published_with_its_metadata() -> None:
    """Row, label, the producer's own time, and the source."""
    ledger, store, log = DemoLedger(), MemoryMetadataStore(), MemoryLog()

    publish_one_pass(ledger, store, log)

    assert ledger.ids() == log.ids()
    stored = [orjson.loads(store.content[record_id]) for record_id in log.ids()]
    assert [(one["row"], one["label"]) for one in stored] == [(0, 7), (1, 1), (2, 3)]
    assert {(one["written_at"], one["source"]) for one in stored} == {(123.5, "/topicserve/demo")}
    assert orjson.loads(log.published[0].value or b"") == {"instance": [0.5] * 64}


def test_publishing_ends_with_a_whole_pass() -> None:
    """Every image is published equally often."""
    ledger = DemoLedger()

    publish_one_pass(ledger, MemoryMetadataStore(), MemoryLog())

    assert ledger.published == len(DIGITS.labels)


def test_publishing_that_is_stopped_ends_at_once() -> None:
    """Between two records, however slow the pace is."""
    ledger = DemoLedger()
    traffic = Traffic(DIGITS, ledger, records_per_second=1e-9)
    producer = RecordProducer(MemoryProducer(MemoryLog()), MemoryMetadataStore(), "digits")

    with ThreadPoolExecutor(1) as threads, producer:
        publishing = threads.submit(traffic.publish, producer)
        traffic.stop()
        publishing.result(LIMIT_SECONDS)

    assert ledger.published <= 1


def test_results_are_noted_until_reading_is_stopped() -> None:
    """With the time at which they were read."""
    ledger = a_ledger(1)
    noted = threading.Event()
    traffic = Traffic(DIGITS, ledger, 1.0, now=lambda: 101.0)

    class Reader(ResultReader):
        def read(self, **_: object):  # type: ignore[no-untyped-def]
            yield a_result(1)
            noted.set()

    with ThreadPoolExecutor(1) as threads:
        consumer = ReadConsumer(MemoryLog(), TopicPartition("results", 0))
        reading = threads.submit(traffic.read, Reader(consumer, "results"))
        assert noted.wait(LIMIT_SECONDS)
        traffic.stop()
        reading.result(LIMIT_SECONDS)

    (answer,) = ledger.answers.values()
    assert answer.read_at == 101.0


@pytest.mark.parametrize("rate", [1.0, 10.0])
def test_records_keep_their_pace(rate: float) -> None:
    """Each waits for its turn, counted from the start, so that a late one is caught up."""
    stopped = NeverStopped()
    traffic = Traffic(DIGITS, DemoLedger(), rate, clock=lambda: 100.0, stopped=stopped)
    traffic.finish()

    with RecordProducer(MemoryProducer(MemoryLog()), MemoryMetadataStore(), "digits") as producer:
        traffic.publish(producer)

    assert stopped.waits == pytest.approx([0.0, 1 / rate, 2 / rate])
