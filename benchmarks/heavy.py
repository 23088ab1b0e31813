"""How near a worker comes to its model's own rate where the model is the work: `make bench-heavy`.

The models have 20 layers of 512 or of 1,024. Beside a worker with its defaults the same SavedModel
runs in a bare loop: batches of the same size that are made once, no Kafka, no records. Each run of
a worker stands behind one of the loop, so that what else the machine does slows both.
"""

import json
import sys
from argparse import Namespace
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.competitors import topicserve
from benchmarks.drain import drain
from benchmarks.options import only
from benchmarks.rig import ROUNDS, Measurement, workplace
from benchmarks.runs import Bench
from benchmarks.servers import Servers
from benchmarks.workload import Shape
from tests.support.processes.child_process import ChildProcess
from tests.support.servables.models import CLASSES, FEATURES, Network

COLUMNS = (
    "layers",
    "record",
    "client",
    "rows/s",
    "CPU us/row",
    "bare loop rows/s",
    "bare loop CPU us/row",
    "rows/s x bare loop",
    "CPU x bare loop",
)
LAYERS = 20
# The default of batching.max_batch_size; a worker that finds a backlog has no smaller batches.
BATCH_ROWS = 1024
BARE_SECONDS = 3.0
_LIMIT_SECONDS = 300.0


@dataclass(frozen=True)
class Case:
    """How wide the model's layers are, and what the worker reads."""

    width: int
    record: str
    shape: Shape
    rows: int
    client: str

    @property
    def name(self) -> str:
        """Return what `--only` looks for a text in."""
        return f"{LAYERS} x {self.width}, {self.record}, {self.client}"


CASES = {
    case.name: case
    for case in (
        Case(width, record, shape, rows, client)
        for width in (512, 1024)
        for record, shape, rows in (
            ("JSON, one row", Shape.TOPICSERVE, 1),
            ("protobuf, one row", Shape.PROTOBUF, 1),
            ("protobuf, 32 rows", Shape.PROTOBUF, 32),
        )
        for client in ("confluent", "kafka-python")
    )
}


@dataclass(frozen=True)
class Speed:
    """What one run reached."""

    rows_per_second: float
    cpu_us_per_row: float

    def __str__(self) -> str:
        return f"{self.rows_per_second:,.0f} rows/s, {self.cpu_us_per_row:.1f} us CPU a row"


@dataclass(frozen=True)
class Pair:
    """What a worker reached, and the bare loop just before it."""

    worker: Speed
    bare: Speed


def bare_loop(bench: Bench) -> Speed:
    """Return the rate of the model alone."""
    module = "benchmarks.hand_loops.bare_session"
    model = str(bench.model_base_path / "1")
    command = [sys.executable, "-m", module, model, str(BATCH_ROWS), str(BARE_SECONDS)]
    with ChildProcess(command, bench.directory / "bare-session.log") as process:
        found = json.loads(process.read_line(_LIMIT_SECONDS))
    return Speed(found["rows"] / found["seconds"], found["cpu_seconds"] / found["rows"] * 1e6)


def worker(bench: Bench, case: Case) -> Speed:
    """Return the rate of a worker that drains a backlog."""
    competitor = topicserve(case.client, "at_least_once", case.shape, options={})
    outcome = drain(bench, competitor, _LIMIT_SECONDS)
    return Speed(outcome.records_per_second * case.rows, outcome.cpu_us_per_record / case.rows)


def measure(
    servers: Servers, directory: Path, cases: Iterable[Case], rows: int, rounds: int
) -> dict[Case, list[Pair]]:
    """Return what every round of each case reached."""
    found: dict[Case, list[Pair]] = {case: [] for case in cases}
    benches: dict[tuple[int, int], Bench] = {}
    for _ in range(rounds):
        for case, pairs in found.items():
            place = case.width, case.rows
            if place not in benches:
                own = directory / f"{case.width}-{case.rows}"
                own.mkdir()
                network = Network(layers=(FEATURES, *[case.width] * LAYERS, CLASSES))
                count = rows // case.rows
                benches[place] = Bench.prepare(servers, own, count, rows=case.rows, network=network)
            bare = bare_loop(benches[place])
            pairs.append(Pair(worker(benches[place], case), bare))
            print(f"{case.name}: {pairs[-1]}", file=sys.stderr)
    return found


def table(found: Mapping[Case, Sequence[Pair]]) -> list[list[str]]:
    """Return the rows: medians of the rounds, and of each round's own ratios."""
    return [
        [
            *(f"{LAYERS} x {case.width:,}", case.record, case.client),
            *_speed([pair.worker for pair in pairs]),
            *_speed([pair.bare for pair in pairs]),
            f"{median(one.worker.rows_per_second / one.bare.rows_per_second for one in pairs):.2f}",
            f"{median(one.worker.cpu_us_per_row / one.bare.cpu_us_per_row for one in pairs):.2f}",
        ]
        for case, pairs in found.items()
    ]


def _speed(speeds: Sequence[Speed]) -> tuple[str, str]:
    rate = median(speed.rows_per_second for speed in speeds)
    return f"{rate:,.0f}", f"{median(speed.cpu_us_per_row for speed in speeds):.0f}"


def _rows(options: Namespace) -> list[list[str]]:
    cases = only(options.only, CASES).values()
    with workplace() as (servers, directory):
        return table(measure(servers, directory, cases, options.rows, options.rounds))


NUMBERS = {"rows": (131_072, "of each run"), "rounds": ROUNDS}
MEASUREMENT = Measurement("heavy", __doc__, COLUMNS, _rows, NUMBERS)


if __name__ == "__main__":
    sys.exit(MEASUREMENT.main())
