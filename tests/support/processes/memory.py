"""What a worker's memory is measured with: records of each heavy kind, and the worker's peak.

The kernel tells the highest resident memory of a process.
"""

import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import redis
from confluent_kafka import Consumer, Producer

from tests.support.kafka.topics import open_topics
from tests.support.processes.worker_process import WorkerProcess
from tests.support.stages.heavy_records import HEAVY, SIZE_BYTES
from tests.support.stages.heavy_servable import RESULT_BYTES, heavy_servable, name_of
from tests.support.traffic.accounts import committed_reader
from topicserve.embedded.stack import Stack
from topicserve.wire import header_names as names

MAX_IN_FLIGHT_BYTES = 64 * 1024 * 1024
PARTITIONS = 4
LIMIT_SECONDS = 300.0
SEND_SECONDS = 60.0
# How often the worker is looked at where no answer comes: one that has ended gives none.
LOOK_SECONDS = 1.0
_MIB = 1024 * 1024


class Memory(NamedTuple):
    """What a worker had in memory, and how long it took."""

    idle_bytes: int
    peak_bytes: int
    seconds: float
    results: int

    @property
    def times_in_flight(self) -> float:
        """Return what it took above idle, in multiples of `max_in_flight_bytes`."""
        return (self.peak_bytes - self.idle_bytes) / MAX_IN_FLIGHT_BYTES


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
MIX = "a mix of all of these"


def _load_of(name: str, count: int) -> Iterator[Load]:
    if name != MIX:
        load = LOADS[name]()
        yield from [load] * count * load.times
        return
    for make in LOADS.values():
        yield from [make()] * max(count // 20, 1)


def measure(name: str, count: int, client: str, stack: Stack, directory: Path) -> Memory:
    """Run a worker over records of one kind, all of which it finds in its topic."""
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
        answers = committed_reader(stack.bootstrap_servers, *topics[1:])
        _send(stack, topics[0], [Load(_SMALL, "strings")])
        _read(answers, worker, 1)
        idle = _resident(worker.pid, "VmRSS")
        started = time.monotonic()
        sent = _send(stack, topics[0], _load_of(name, count))
        answered_from = _read(answers, worker, sent)
        peak, seconds = _resident(worker.pid, "VmHWM"), time.monotonic() - started
        answers.close()
        return Memory(idle, peak, seconds, answered_from[topics[1]])


def _send(stack: Stack, topic: str, loads: Iterable[Load]) -> int:
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


def _read(answers: Consumer, worker: WorkerProcess, records: int) -> Counter[str]:
    """Read the answers to so many records; return how many came from which topic."""
    deadline = time.monotonic() + LIMIT_SECONDS
    found = Counter[str]()
    while found.total() < records:
        for message in answers.consume(records - found.total(), LOOK_SECONDS):
            assert message.error() is None, message.error()
            found[message.topic()] += 1
        if time.monotonic() > deadline or not worker.running:
            missing = records - found.total()
            raise AssertionError(f"{missing} records are not answered\n{worker.log_tail()}")
    return found


def _resident(pid: int, field: str) -> int:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) * 1024
    raise AssertionError(f"process {pid} has ended")
