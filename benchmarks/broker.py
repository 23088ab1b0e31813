"""The embedded broker beside Apache Kafka, in one run: `make bench-broker`.

Throughput is librdkafka's with records of 1 KiB, four partitions, no compression. What the
broker's own process uses of the CPU meanwhile tells how much one core of it could take, whatever
the client and the machine's other work allow. A wake-up is the time from just before a record is
sent until a fetch that was already waiting has it.
"""

import statistics
import sys
import threading
import time
from argparse import Namespace
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import confluent_kafka
import psutil
from kafka.protocol.consumer import FetchRequest
from kafka.protocol.producer import ProduceRequest

from benchmarks.options import only
from benchmarks.rig import Measurement
from tests.support.kafka.apache_kafka import ApacheKafka
from tests.support.kafka.record_batches import a_payload
from tests.support.processes.stack import RawClient, raw_client, resident_bytes
from topicserve.embedded.kafka_server import KafkaServer

COLUMNS = (
    "broker",
    "start s",
    "idle MiB",
    "produce rec/s",
    "consume rec/s",
    "produce rec/s a core",
    "consume rec/s a core",
    "wake-up p50 ms",
    "wake-up p99 ms",
)
PARTITIONS = 4
RECORD_BYTES = 1024
CHUNK_RECORDS = 10_000
LIMIT_SECONDS = 60


class Rate(NamedTuple):
    """Records a second by the clock, and by the broker's own CPU seconds."""

    clock: float
    core: float


class Figures(NamedTuple):
    """What was measured of one broker."""

    startup_timeout_seconds: float
    idle_bytes: int
    produce: Rate
    consume: Rate
    wake_ups_seconds: list[float]


@contextmanager
def measured(pid: int, records: int) -> Iterator[Callable[[], Rate]]:
    """Measure what happens inside; the function that is given returns the rate afterwards."""
    process = psutil.Process(pid)
    before, started = process.cpu_times(), time.perf_counter()
    rate: list[Rate] = []
    yield lambda: rate[0]
    seconds, after = time.perf_counter() - started, process.cpu_times()
    used = after.user - before.user + after.system - before.system
    rate.append(Rate(records / seconds, records / used))


def measure(open_server: Callable[[], Any], records: int, wake_ups: int) -> Figures:
    """Start a broker and measure it."""
    started = time.perf_counter()
    with open_server() as server:
        startup_timeout_seconds = time.perf_counter() - started
        idle_bytes = resident_bytes(server.pid)
        _produce(server, "warm-up", CHUNK_RECORDS)
        with measured(server.pid, records) as produced:
            _produce(server, "load", records)
        with measured(server.pid, records) as consumed:
            _consume(server, "load", records)
        latencies = _wake_ups(server, wake_ups)
    return Figures(startup_timeout_seconds, idle_bytes, produced(), consumed(), latencies)


def _produce(server: Any, topic: str, records: int) -> None:
    producer = confluent_kafka.Producer(
        {
            "bootstrap.servers": server.bootstrap_servers,
            "linger.ms": 5,
            "batch.size": 1 << 20,
            "batch.num.messages": 1_000,
            "queue.buffering.max.messages": 200_000,
            "acks": "all",
        }
    )
    value = b"v" * RECORD_BYTES
    for number in range(records):
        while True:
            try:
                producer.produce(topic, value, partition=number % PARTITIONS)
                break
            except BufferError:
                producer.poll(0.01)
    assert producer.flush(LIMIT_SECONDS) == 0


def _consume(server: Any, topic: str, records: int) -> None:
    consumer = confluent_kafka.Consumer(
        {
            "bootstrap.servers": server.bootstrap_servers,
            "group.id": "benchmark",
            # Otherwise the client rests for a second whenever it has enough for now.
            "queued.min.messages": 1_000_000,
            "queued.max.messages.kbytes": 1 << 20,
        }
    )
    consumer.assign([confluent_kafka.TopicPartition(topic, n, 0) for n in range(PARTITIONS)])
    left = records
    while left:
        found = consumer.consume(min(left, CHUNK_RECORDS), LIMIT_SECONDS)
        assert found, f"{left} records are missing"
        left -= len(found)
    consumer.close()


def _wake_ups(server: Any, count: int) -> list[float]:
    """Return how long each record took to reach a fetch that waited for it."""
    _produce(server, "wake-up", PARTITIONS)
    heard: list[float] = []
    arrived = threading.Semaphore(0)

    def read(client: RawClient) -> None:
        for offset in range(1, count + 1):
            client.ask(_fetch("wake-up", offset), 11)
            heard.append(time.perf_counter())
            arrived.release()

    with (
        raw_client(server.bootstrap_servers) as reader,
        raw_client(server.bootstrap_servers) as writer,
    ):
        thread = threading.Thread(target=read, args=[reader])
        thread.start()
        sent = []
        for _ in range(count):
            time.sleep(0.005)  # the fetch is on its way, and must be waiting when the record comes
            sent.append(time.perf_counter())
            writer.ask(_record("wake-up"), 7)
            assert arrived.acquire(timeout=LIMIT_SECONDS)
        thread.join()
    return [end - start for start, end in zip(sent, heard, strict=True)]


def _fetch(topic: str, offset: int) -> Any:
    wanted = FetchRequest.FetchTopic.FetchPartition(
        partition=0,
        fetch_offset=offset,
        log_start_offset=-1,
        current_leader_epoch=-1,
        partition_max_bytes=1 << 20,
    )
    return FetchRequest(
        replica_id=-1,
        max_wait_ms=10_000,
        min_bytes=1,
        max_bytes=1 << 20,
        isolation_level=0,
        session_id=0,
        session_epoch=-1,
        topics=[FetchRequest.FetchTopic(topic=topic, partitions=[wanted])],
        forgotten_topics_data=[],
        rack_id="",
    )


def _record(topic: str) -> Any:
    data_class = ProduceRequest.TopicProduceData
    data = data_class.PartitionProduceData(index=0, records=a_payload())
    return ProduceRequest(
        transactional_id=None,
        acks=1,
        timeout_ms=1_000,
        topic_data=[data_class(name=topic, partition_data=[data])],
    )


def cells(name: str, figures: Figures) -> list[str]:
    """Return a row of the table."""
    p50, p99 = (statistics.quantiles(figures.wake_ups_seconds, n=100)[at] for at in (49, 98))
    return [
        name,
        f"{figures.startup_timeout_seconds:.2f}",
        f"{figures.idle_bytes / (1 << 20):.0f}",
        f"{figures.produce.clock:,.0f}",
        f"{figures.consume.clock:,.0f}",
        f"{figures.produce.core:,.0f}",
        f"{figures.consume.core:,.0f}",
        f"{p50 * 1e3:.2f}",
        f"{p99 * 1e3:.2f}",
    ]


def _rows(options: Namespace) -> list[list[str]]:
    brokers: dict[str, Callable[[], Any]] = {"embedded": KafkaServer, "Apache Kafka": ApacheKafka}
    return [
        cells(name, measure(open_server, options.records, options.wake_ups))
        for name, open_server in only(options.only, brokers).items()
    ]


NUMBERS = {"records": (400_000, ""), "wake-ups": (500, "")}
MEASUREMENT = Measurement("broker", __doc__, COLUMNS, _rows, NUMBERS)


if __name__ == "__main__":
    sys.exit(MEASUREMENT.main())
