"""How much memory a worker takes for records that ask for as much as they can.

    python -m benchmarks.memory [--client confluent] [--only TEXT] [--records 60] [--write-docs]

Each kind of record has a worker of its own, with the default limits, which finds them all in its
topic. The highest resident memory that the kernel has seen is compared with what the worker had
before, in multiples of `batching.max_in_flight_bytes`.
"""

import argparse
import os
import sys
import tempfile
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import redis
from confluent_kafka import Producer

from benchmarks.docs import markdown, replace_section
from benchmarks.options import only
from tests.support.kafka.topics import open_topics
from tests.support.processes.worker_process import WorkerProcess
from tests.support.stages.heavy_records import HEAVY, SIZE_BYTES
from tests.support.stages.heavy_servable import (
    RESULT_BYTES,
    heavy_servable,
    install_heavy,
    name_of,
)
from topicserve.embedded.stack import Stack
from topicserve.wire import headers as names

MAX_IN_FLIGHT_BYTES = 64 * 1024 * 1024
PARTITIONS = 4
LIMIT_SECONDS = 300.0
SEND_SECONDS = 60.0
_MIB = 1024 * 1024
_COLUMNS = ("record", "idle MiB", "peak MiB", "above idle MiB", "x max_in_flight_bytes", "seconds")


class Load(NamedTuple):
    """One record of a kind, and how many times as many there are."""

    value: bytes
    signature: str
    content_type: str = names.JSON_CONTENT_TYPE
    headers: tuple[tuple[str, bytes], ...] = ()
    metadata: bytes | None = None
    times: int = 1


def _heavy(name: str) -> Callable[[], Load]:
    def make() -> Load:
        heavy = HEAVY[name](SIZE_BYTES)
        return Load(heavy.value, name_of(heavy.signature), heavy.content_type)

    return make


_SMALL = b'{"instance":"a"}'
_METADATA = b'{"text":"%b"}' % (b"m" * 900_000)
_HEADERS = tuple((f"header-{number}", b"v" * 200) for number in range(900))

LOADS: dict[str, Callable[[], Load]] = {
    **{name: _heavy(name) for name in HEAVY},
    "one string": lambda: Load(b'{"instances":["%b"]}' % (b"a" * (SIZE_BYTES - 64)), "strings"),
    "one string, echoed": lambda: Load(
        b'{"instances":["%b"]}' % (b"a" * (SIZE_BYTES - 4096)), "echo"
    ),
    "rows of two letters, echoed": lambda: Load(
        HEAVY["JSON, rows of two letters"](SIZE_BYTES // 2).value, "echo"
    ),
    "results of 10 MB": lambda: Load(_SMALL, "large"),
    "metadata of 900 kB": lambda: Load(_SMALL, "strings", metadata=_METADATA, times=4),
    "900 headers of 200 bytes": lambda: Load(_SMALL, "strings", headers=_HEADERS, times=10),
}
_MIX = "a mix of all of these"


def _load_of(name: str, count: int) -> Iterator[Load]:
    if name != _MIX:
        load = LOADS[name]()
        yield from [load] * count * load.times
        return
    for make in LOADS.values():
        yield from [make()] * max(count // 20, 1)


def measure(name: str, count: int, client: str, stack: Stack, directory: Path) -> list[str]:
    """Run a worker over records of one kind; return the row of the table."""
    run = uuid.uuid4().hex[:8]
    topics = f"in-{run}", f"out-{run}", f"in-{run}.dead-letter"
    config = {
        "topics": {"input": [topics[0]], "output": topics[1]},
        "kafka": {
            "bootstrap_servers": stack.bootstrap_servers,
            "group_id": run,
            "client": client,
            "consumer_settings": {"isolation.level": "read_committed"},
        },
        "metadata": {"redis_url": stack.redis_url},
        "batching": {"max_in_flight_bytes": MAX_IN_FLIGHT_BYTES},
        "delivery": {"max_dead_letter_share": 1.0},
        "servables": [heavy_servable(directory)],
    }
    with (
        open_topics(
            *(stack.bootstrap_servers, *topics),
            partitions=PARTITIONS,
            # Results that a topic is known to refuse are not kept until they are acknowledged.
            config={"max.message.bytes": str(2 * RESULT_BYTES)},
        ),
        WorkerProcess(config, directory, f"worker-{run}") as worker,
    ):
        worker.wait_ready()
        _send(stack, topics[0], [Load(_SMALL, "strings")])
        _wait_done(worker, 1)
        idle = _resident(worker.pid, "VmRSS")
        started = time.monotonic()
        sent = _send(stack, topics[0], _load_of(name, count))
        _wait_done(worker, 1 + sent)
        seconds = time.monotonic() - started
        peak = _resident(worker.pid, "VmHWM")
    above = peak - idle
    sizes = [f"{size / _MIB:.0f}" for size in (idle, peak, above)]
    return [name, *sizes, f"{above / MAX_IN_FLIGHT_BYTES:.1f}", f"{seconds:.0f}"]


def _send(stack: Stack, topic: str, loads: Iterator[Load] | list[Load]) -> int:
    """Send records to the partitions in turn, all at once to who reads committed records."""
    producer = Producer(
        {
            "bootstrap.servers": stack.bootstrap_servers,
            "message.max.bytes": 8 * _MIB,
            "transactional.id": uuid.uuid4().hex,
        }
    )
    producer.init_transactions(SEND_SECONDS)
    producer.begin_transaction()
    sent = 0
    with redis.Redis.from_url(stack.redis_url) as store:
        for sent, load in enumerate(loads, 1):
            record_id = str(uuid.uuid4())
            if load.metadata is not None:
                store.set(f"topicserve:metadata:{record_id}", load.metadata)
            headers = [
                (names.SPECVERSION, b"1.0"),
                (names.ID, record_id.encode()),
                (names.TYPE, names.INPUT_TYPE.encode()),
                (names.SOURCE, b"/benchmarks"),
                (names.CONTENT_TYPE, load.content_type.encode()),
                (names.SIGNATURE, load.signature.encode()),
                *load.headers,
            ]
            producer.produce(topic, load.value, headers=headers, partition=sent % PARTITIONS)
            producer.flush(SEND_SECONDS)
    producer.commit_transaction(SEND_SECONDS)
    return sent


def _wait_done(worker: WorkerProcess, records: int) -> None:
    deadline = time.monotonic() + LIMIT_SECONDS
    while True:
        results = worker.metric("topicserve_results_published_total")
        if results + worker.metric("topicserve_dead_letters_total") >= records:
            return
        if time.monotonic() > deadline or not worker.running:
            raise AssertionError(f"{records} records are not answered\n{worker.log_tail()}")
        time.sleep(0.1)


def _resident(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has ended")


def main() -> int:
    """Measure, print the table, and write it to the page where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", default="kafka-python", choices=("kafka-python", "confluent"))
    parser.add_argument("--only", default="", metavar="TEXT", help="kinds whose name contains it")
    parser.add_argument("--records", type=int, default=60, help="records of each kind")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    arguments = parser.parse_args()
    chosen = only(arguments.only, dict.fromkeys([*LOADS, _MIX]))
    rows = []
    with tempfile.TemporaryDirectory() as path, Stack() as stack:
        directory = Path(path)
        # Workers find the kind as they find a user's own.
        given = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [install_heavy(directory), given]))
        for name in chosen:
            row = measure(name, arguments.records, arguments.client, stack, directory)
            rows.append(row)
            print("  ".join(row), flush=True)
    print("\n".join(markdown(_COLUMNS, rows)))
    if arguments.write_docs:
        replace_section(
            "memory", f"python -m benchmarks.memory --records {arguments.records}", _COLUMNS, rows
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
