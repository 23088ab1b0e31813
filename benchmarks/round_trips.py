"""What results cost where the broker takes time to answer: `make bench-round-trips`.

    python -m benchmarks.round_trips [--rate 2500] [--seconds 4] [--write-docs]

A worker's producer on confluent-kafka, and beside it librdkafka's with the same settings, which is
given each record at once. The broker is librdkafka's own stand-in with a round trip time, in
the same process, whose CPU both rows have. Records of 400 bytes with keys, in four partitions.
"""

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from functools import partial

import confluent_kafka
import numpy as np

from benchmarks.rig import Measurement
from topicserve.backends.confluent.producer import ConfluentProducer
from topicserve.backends.in_flight import InFlight
from topicserve.wire.kafka_record import OutgoingRecord

_COLUMNS = ("round trip ms", "producer", "CPU us/record", "% of a core", "p50 ms", "p99 ms")
_ROUND_TRIPS_MS = (1, 2, 5, 15, 30)
_TOPIC, _VALUE, _KEYS = "results", b"x" * 400, 1000
_STEP_SECONDS = 0.0005
_LIMIT_SECONDS = 60.0

Send = Callable[[Sequence[OutgoingRecord], Callable[[], None]], None]
"""Sends records, and calls back when all of them are written."""


def _settings(round_trip_ms: int) -> dict[str, object]:
    return {
        "bootstrap.servers": "none",
        "test.mock.num.brokers": 1,
        "test.mock.broker.rtt": round_trip_ms,
        "acks": "all",
        "enable.idempotence": True,
        "linger.ms": 1,
        "delivery.report.only.error": True,
        "log_level": 0,
    }


def _measured(send: Send, flush: Callable[[], object], rate: int, seconds: int) -> Sequence[str]:
    """Send records at their moments on the clock; return the cells of what they took."""
    latencies: list[float] = []

    def note(moments: Sequence[float]) -> None:
        now = time.perf_counter()
        latencies.extend(now - moment for moment in moments)

    send([OutgoingRecord(_TOPIC, b"first", _VALUE)], partial(note, []))
    flush()
    before, started, sent = time.process_time(), time.perf_counter(), 0
    while sent < rate * seconds:
        due = min(int((time.perf_counter() - started) * rate), rate * seconds)
        if due > sent:
            records = [
                OutgoingRecord(_TOPIC, b"%d" % (n % _KEYS), _VALUE) for n in range(sent, due)
            ]
            send(records, partial(note, [started + n / rate for n in range(sent, due)]))
            sent = due
        time.sleep(_STEP_SECONDS)
    flush()
    cpu = time.process_time() - before
    if len(latencies) != sent:
        raise AssertionError(f"{sent - len(latencies)} of {sent} records were not reported")
    p50, p99 = np.percentile(latencies, [50, 99]) * 1e3
    return [f"{cpu / sent * 1e6:.0f}", f"{cpu / seconds:.0%}", f"{p50:.1f}", f"{p99:.1f}"]


def _ours(round_trip_ms: int, rate: int, seconds: int) -> Sequence[str]:
    producer = ConfluentProducer(
        lambda _: confluent_kafka.Producer(_settings(round_trip_ms)),
        InFlight(50_000, 64 * 1024 * 1024, _LIMIT_SECONDS),
    )

    def send(records: Sequence[OutgoingRecord], written: Callable[[], None]) -> None:
        producer.send(records, lambda errors: None if any(errors) else written())

    try:
        return _measured(send, lambda: producer.flush(_LIMIT_SECONDS), rate, seconds)
    finally:
        producer.close(1)


def _bare(round_trip_ms: int, rate: int, seconds: int) -> Sequence[str]:
    settings = _settings(round_trip_ms) | {"delivery.report.only.error": False}
    producer = confluent_kafka.Producer(settings)

    def send(records: Sequence[OutgoingRecord], written: Callable[[], None]) -> None:
        left = len(records)

        def report(error: object, _: object) -> None:
            nonlocal left
            left -= 1
            if error is None and not left:
                written()

        for record in records:
            producer.produce(record.topic, record.value, record.key, on_delivery=report)
        producer.poll(0)

    return _measured(send, lambda: producer.flush(_LIMIT_SECONDS), rate, seconds)


def _rows(options: Namespace) -> list[list[str]]:
    producers = {"librdkafka": _bare, "topicserve, confluent": _ours}
    return [
        [str(round_trip_ms), name, *measure(round_trip_ms, options.rate, options.seconds)]
        for round_trip_ms in _ROUND_TRIPS_MS
        for name, measure in producers.items()
        if options.only in name
    ]


MEASUREMENT = Measurement(
    "round_trips",
    __doc__,
    _COLUMNS,
    _rows,
    {"rate": (2_500, "records a second"), "seconds": (4, "")},
)


if __name__ == "__main__":
    sys.exit(MEASUREMENT.main())
