"""Whether a record costs the same whatever the load: `make bench-flat`.

A worker drains backlogs of records of one row as JSON, through confluent-kafka: of different sizes,
in more or fewer partitions, for servables in turn, and as replicas of one group. Just before each
run stands one of the usual load, with which its CPU is compared.
"""

import sys
from argparse import Namespace
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from benchmarks.competitors import (
    SAVED_MODEL,
    Competitor,
    Program,
    Run,
    config_of,
)
from benchmarks.drain import drain
from benchmarks.drain_report import Outcome
from benchmarks.options import only
from benchmarks.rig import ROUNDS, Measurement, workplace
from benchmarks.runs import WARM_UP_RECORDS, Bench
from benchmarks.servers import Servers
from benchmarks.topics import PARTITIONS
from benchmarks.workload import SERVABLE, Shape
from tests.support.processes.worker_process import worker_command

COLUMNS = (
    "records",
    "partitions",
    "servables",
    "replicas",
    "records/s",
    "CPU us/record",
    "CPU x usual",
    "peak RSS MiB",
)
_LIMIT_SECONDS = 300.0
_MOST_SERVABLES = 8
# As many for each servable: a version's first calls are checked by calls of single records, which
# costs the same whatever the load.
_WARM_UP_RECORDS = WARM_UP_RECORDS * _MOST_SERVABLES


@dataclass(frozen=True)
class Load:
    """What a worker finds."""

    records: int
    partitions: int = PARTITIONS
    servables: int = 1
    replicas: int = 1

    @property
    def name(self) -> str:
        """Return what `--only` looks for a text in."""
        return (
            f"{self.records} records, {self.partitions} partitions, "
            f"{self.servables} servables, {self.replicas} replicas"
        )

    @property
    def names(self) -> tuple[str, ...]:
        """Return the servables' names."""
        return (SERVABLE, *(f"{SERVABLE}-{number}" for number in range(1, self.servables)))


def loads(records: int, most: int) -> dict[str, Load]:
    """Return the loads by name; the usual one is the first."""
    usual = Load(records)
    others = (
        *(replace(usual, records=count) for count in (10_000, most)),
        *(replace(usual, partitions=count) for count in (1, 16, 64)),
        *(replace(usual, servables=count) for count in (2, _MOST_SERVABLES)),
        *(replace(usual, replicas=count) for count in (2, 3)),
    )
    return {load.name: load for load in (usual, *others)}


def _competitor(load: Load) -> Competitor:
    def program(run: Run) -> Program:
        config = config_of(run, "confluent", "at_least_once", SAVED_MODEL, {})
        (servable,) = config["servables"]
        config["servables"] = [servable | {"name": name} for name in load.names]
        command = worker_command(config, run.directory / "worker.toml")
        replicas = ["--replicas", str(load.replicas)] if load.replicas > 1 else []
        return Program([*command, *replicas], {})

    return Competitor("topicserve", "confluent", "at_least_once", Shape.TOPICSERVE, program)


def measure(
    servers: Servers, directory: Path, wanted: Sequence[Load], usual: Load, rounds: int
) -> dict[Load, list[tuple[Outcome, Outcome]]]:
    """Return each round's run of the usual load and of each other, in pairs."""
    benches = {}
    for load in (usual, *wanted):
        if load.records not in benches:
            own = directory / str(load.records)
            own.mkdir()
            benches[load.records] = Bench.prepare(
                servers, own, load.records, warm_up_records=_WARM_UP_RECORDS
            )
    found: dict[Load, list[tuple[Outcome, Outcome]]] = {load: [] for load in wanted}
    for _ in range(rounds):
        for load, pairs in found.items():
            pair = [_run(benches[one.records], one) for one in (usual, load)]
            pairs.append((pair[0], pair[1]))
            print(f"{load.name}: {pair[1]}; usual: {pair[0]}", file=sys.stderr)
    return found


def _run(bench: Bench, load: Load) -> Outcome:
    bench = replace(bench, workload=replace(bench.workload, servables=load.names))
    return drain(bench, _competitor(load), _LIMIT_SECONDS, load.partitions)


def table(found: Mapping[Load, Sequence[tuple[Outcome, Outcome]]]) -> list[list[str]]:
    """Return the rows: medians of the rounds, and of each round's own ratios."""
    return [
        [
            *(f"{load.records:,}", f"{load.partitions}", f"{load.servables}", f"{load.replicas}"),
            f"{median(one.records_per_second for _, one in pairs):,.0f}",
            f"{median(one.cpu_us_per_record for _, one in pairs):.1f}",
            f"{median(_ratio(one, usual) for usual, one in pairs):.2f}",
            f"{median(one.peak_rss_bytes for _, one in pairs) / 2**20:.0f}",
        ]
        for load, pairs in found.items()
    ]


def _ratio(one: Outcome, usual: Outcome) -> float:
    return one.cpu_us_per_record / usual.cpu_us_per_record


def _rows(options: Namespace) -> list[list[str]]:
    all_loads = loads(options.records, options.most)
    usual = next(iter(all_loads.values()))
    wanted = list(only(options.only, all_loads).values())
    with workplace() as (servers, directory):
        return table(measure(servers, directory, wanted, usual, options.rounds))


NUMBERS = {
    "records": (50_000, "of the usual load"),
    "most": (2_000_000, "of the largest backlog"),
    "rounds": ROUNDS,
}
MEASUREMENT = Measurement("flat", __doc__, COLUMNS, _rows, NUMBERS)


if __name__ == "__main__":
    sys.exit(MEASUREMENT.main())
