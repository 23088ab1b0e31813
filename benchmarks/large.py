"""Records and results of a mebibyte beside a bare echo: MB a second, and memory.

A program is started, answers some records, and then finds the whole backlog at once. Rounds
alternate between the programs.
"""

import sys
import time
import uuid
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from confluent_kafka import Producer

from benchmarks import large_models
from benchmarks.competitors import Run, hand_loop, worker
from benchmarks.measure import peak_rss_bytes, resident_bytes, usage
from benchmarks.options import only
from benchmarks.rig import ROUNDS, Measurement, workplace
from benchmarks.servers import Servers
from benchmarks.topics import PARTITIONS, OutputTopic
from benchmarks.workload import Shape, input_headers
from tests.support.kafka.topics import open_topics
from tests.support.processes.child_process import ChildProcess
from topicserve.wire.protobuf_codec import encode_predict_request

COLUMNS = (
    "record",
    "result",
    "client",
    "MB/s",
    "MB/s x echo",
    "CPU ms/record",
    "above idle MiB",
    "x max_in_flight_bytes",
)
MAX_IN_FLIGHT_BYTES = 64 * 1024 * 1024
_MAX_MESSAGE_BYTES = 8 * 1024 * 1024
_FIRST_RECORDS = 8
# A worker compares the answers of a version's first batches with lone ones, 8 records a batch.
_WARM_UP_RECORDS = 128
_LIMIT_SECONDS = 120.0
_SEND_SECONDS = 60.0
_MB = 1e6


@dataclass(frozen=True)
class Case:
    """A program, and what it reads and answers."""

    record: str
    result: str
    client: str
    model: str = ""
    """The bare echo has none."""

    @property
    def name(self) -> str:
        """Return what `--only` looks for a text in."""
        return f"{self.record} to {self.result}, {self.client}"

    def value(self, number: int) -> bytes:
        """Return a record's body; each has other numbers."""
        floats = 1 if self.record == "4 B" else large_models.FLOATS
        row = np.random.default_rng(0).standard_normal((1, floats)).astype(np.float32) + number
        return encode_predict_request({"x": row}, servable_name="network")


CASES = {
    case.name: case
    for client in ("confluent", "kafka-python")
    for case in (
        Case("1 MiB", "the same record (bare echo)", client),
        Case("1 MiB", "4 B", client, "mean"),
        Case("1 MiB", "1 MiB", client, "same"),
        Case("4 B", "1 MiB", client, "fill"),
    )
}


@dataclass(frozen=True)
class Outcome:
    """What one drain took."""

    mb_per_second: float
    cpu_seconds_per_record: float
    above_idle_bytes: int


def drain(servers: Servers, directory: Path, case: Case, count: int) -> Outcome:
    """Start a program, let it drain a backlog of large records, and return what that took."""
    run_id = uuid.uuid4().hex[:8]
    own = directory / run_id
    own.mkdir()
    run = Run(
        *(servers, f"in-{run_id}", f"out-{run_id}", run_id),
        model_base_path=directory / case.model,
        directory=own,
    )
    is_echo = not case.model
    echo = hand_loop(f"{case.client.replace('-', '_')}_echo")
    program = (echo if is_echo else worker(case.client, "at_least_once", options={}))(run)
    settings = {"max.message.bytes": str(_MAX_MESSAGE_BYTES)}
    with (
        open_topics(
            *(servers.bootstrap_servers, *run.topics), partitions=PARTITIONS, config=settings
        ),
        OutputTopic(servers.bootstrap_servers, run.output_topic) as results,
        ChildProcess(program.command, own / "log", program.environment) as process,
    ):
        _send(servers, run.input_topic, case, _FIRST_RECORDS).commit_transaction()
        _read(results, process, _FIRST_RECORDS)
        idle_bytes = resident_bytes(process.pid)
        _send(servers, run.input_topic, case, _WARM_UP_RECORDS).commit_transaction()
        _read(results, process, _WARM_UP_RECORDS)
        held_back = _send(servers, run.input_topic, case, count)
        before, started = usage(process.pid), time.monotonic()
        held_back.commit_transaction()
        _read(results, process, count)
        seconds, after = time.monotonic() - started, usage(process.pid)
        peak_bytes = peak_rss_bytes(process.pid)
    moved = large_models.FLOATS * 4 * count
    return Outcome(
        moved / seconds / _MB,
        (after.cpu_seconds - before.cpu_seconds) / count,
        peak_bytes - idle_bytes,
    )


def _send(servers: Servers, topic: str, case: Case, count: int) -> Producer:
    """Send records in a transaction, and return the producer that is to commit it."""
    producer = Producer(
        {
            "bootstrap.servers": servers.bootstrap_servers,
            "message.max.bytes": _MAX_MESSAGE_BYTES,
            "transactional.id": uuid.uuid4().hex,
            "log_level": 4,
        }
    )
    producer.init_transactions(_SEND_SECONDS)
    producer.begin_transaction()
    for number in range(count):
        record_id = str(uuid.uuid4())
        headers = input_headers(record_id, Shape.PROTOBUF)
        producer.produce(topic, case.value(number), record_id, number % PARTITIONS, headers=headers)
        producer.poll(0)
    producer.flush(_SEND_SECONDS)
    return producer


def _read(results: OutputTopic, process: ChildProcess, count: int) -> None:
    seen: set[bytes] = set()
    deadline = time.monotonic() + _LIMIT_SECONDS
    while len(seen) < count:
        seen.update(message.key() for message in results.read(0.02))
        if time.monotonic() > deadline or not process.running:
            raise AssertionError(f"{len(seen)} of {count} results\n{process.log_tail()}")


def table(found: Mapping[Case, Sequence[Outcome]]) -> list[list[str]]:
    """Return the rows: medians of the rounds, and of each round's own ratios."""
    echoes = {case.client: outcomes for case, outcomes in found.items() if not case.model}
    return [_row(case, outcomes, echoes.get(case.client)) for case, outcomes in found.items()]


def _row(case: Case, outcomes: Sequence[Outcome], echoes: Sequence[Outcome] | None) -> list[str]:
    above = median(one.above_idle_bytes for one in outcomes)
    pairs = zip(outcomes, echoes or (), strict=echoes is not None)
    ratios = [one.mb_per_second / echo.mb_per_second for one, echo in pairs]
    return [
        *(case.record, case.result, case.client),
        f"{median(one.mb_per_second for one in outcomes):.0f}",
        f"{median(ratios):.2f}" if ratios else "",
        f"{median(one.cpu_seconds_per_record for one in outcomes) * 1e3:.2f}",
        f"{above / 2**20:.0f}",
        f"{above / MAX_IN_FLIGHT_BYTES:.1f}" if case.model else "",
    ]


def _rows(options: Namespace) -> list[list[str]]:
    found: dict[Case, list[Outcome]] = {case: [] for case in only(options.only, CASES).values()}
    with workplace() as (servers, directory):
        large_models.export(directory)
        for _ in range(options.rounds):
            for case, outcomes in found.items():
                outcomes.append(drain(servers, directory, case, options.records))
                print(f"{case.name}: {outcomes[-1]}", file=sys.stderr)
    return table(found)


NUMBERS = {"records": (300, "of each run"), "rounds": ROUNDS}
MEASUREMENT = Measurement("large", __doc__, COLUMNS, _rows, NUMBERS)


if __name__ == "__main__":
    sys.exit(MEASUREMENT.main())
