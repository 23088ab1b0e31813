"""What records of 1 MiB cost to decode, and to make columns of.

    python -m benchmarks.decoding [--only TEXT] [--rounds 3] [--write-docs]

Prints the CPU seconds of each kind of record in `tests/support/stages/heavy_records.py`: of
decoding, as the polling thread does, and of making columns, as a batch thread does. The
least of the rounds. Python's collector is set as a worker sets it.
"""

import gc
import sys
import time
from argparse import Namespace
from collections.abc import Callable

from benchmarks.options import only
from benchmarks.rig import ROUNDS, Measurement
from tests.support.stages.heavy_records import HEAVY, SIZE_BYTES, Heavy
from tests.support.stages.records import PARTITION, ROUTE, a_kafka_record
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.input_record import decode_input
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.service import GC_THRESHOLD
from topicserve.worker.stages.calls.feeds import build_feeds
from topicserve.worker.stages.request import Request

_COLUMNS = ("record of 1 MiB", "decoding s", "columns s", "outcome")


def measure(name: str, heavy: Heavy, rounds: int) -> list[str]:
    """Return the row of one kind."""
    content_type = [("content-type", heavy.content_type.encode())]
    record = a_kafka_record(1, value=heavy.value, headers=content_type)
    outcome, columns = "invalid_record", 0.0
    decoding = min(_seconds(lambda: _decode(record)) for _ in range(rounds))
    found = _decode(record)
    if found is not None:
        columns = min(
            _seconds(lambda: build_feeds([found], heavy.signature)) for _ in range(rounds)
        )
        outcome = "columns" if build_feeds([found], heavy.signature)[0] else "invalid_input"
    return [name, f"{decoding:.3f}", f"{columns:.3f}", outcome]


def _decode(record: KafkaRecord) -> Request | None:
    try:
        found = decode_input(record)
    except InvalidRecordError:
        return None
    return Request(record, PartitionAssignment(PARTITION), 1, 0.0, found, ROUTE)


def _seconds(action: Callable[[], object]) -> float:
    started = time.process_time()
    action()
    return time.process_time() - started


def _rows(options: Namespace) -> list[list[str]]:
    gc.freeze()
    gc.set_threshold(*GC_THRESHOLD)
    kinds = only(options.only, HEAVY)
    return [measure(name, make(SIZE_BYTES), options.rounds) for name, make in kinds.items()]


MEASUREMENT = Measurement("decoding", __doc__, _COLUMNS, _rows, {"rounds": ROUNDS})


if __name__ == "__main__":
    sys.exit(MEASUREMENT.main())
