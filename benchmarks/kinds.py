"""How fast, and for how much CPU, a worker drains a backlog of each kind of record.

    python -m benchmarks.kinds [--only TEXT] [--records 40000] [--rounds 1] [--write-docs]

On Apache Kafka and Valkey, at least once, with both clients: a row as JSON, as protobuf and as raw
bytes that the model decodes, of 64 and of 784 floats, and 32 rows of 64 in a record; and with the
network in ONNX, beside a hand loop that calls ONNX Runtime. The last column compares rows of one
run.
"""

import sys
from argparse import Namespace
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks.competitors import ONE_THREAD, ONNX, Competitor, onnx_hand_loop, topicserve
from benchmarks.drain import drain
from benchmarks.drain_report import Outcome
from benchmarks.options import only
from benchmarks.rig import Measurement, workplace
from benchmarks.runs import Bench
from benchmarks.servers import Servers
from benchmarks.workload import Shape

_COLUMNS = ("record", "client", "records/s", "CPU us/record", "CPU us/row", "CPU x the row as JSON")
_CLIENTS = ("confluent", "kafka-python")
_LIMIT_SECONDS = 120.0


@dataclass(frozen=True)
class Kind:
    """One kind of record."""

    shape: Shape
    features: int
    rows: int = 1
    competitor: Callable[[str], Competitor] | None = None
    """Made for a client, in place of the worker with the SavedModel."""

    def made_for(self, client: str) -> Competitor:
        """Return what reads it."""
        if self.competitor is not None:
            return self.competitor(client)
        return topicserve(client, "at_least_once", self.shape)


def _onnx(client: str) -> Competitor:
    return topicserve(client, "at_least_once", kind=ONNX, options=ONE_THREAD)


KINDS: Mapping[str, Kind] = {
    "JSON, one row of 64": Kind(Shape.TOPICSERVE, 64),
    "protobuf, one row of 64": Kind(Shape.PROTOBUF, 64),
    "bytes, one row of 64": Kind(Shape.OCTETS, 64),
    "JSON, 32 rows of 64": Kind(Shape.INSTANCES, 64, 32),
    "JSON, one row of 64, ONNX": Kind(Shape.TOPICSERVE, 64, competitor=_onnx),
    "the same, hand loop, ONNX": Kind(Shape.HAND_LOOP, 64, competitor=onnx_hand_loop),
    "JSON, one row of 784": Kind(Shape.TOPICSERVE, 784),
    "protobuf, one row of 784": Kind(Shape.PROTOBUF, 784),
    "bytes, one row of 784": Kind(Shape.OCTETS, 784),
}
Found = dict[tuple[str, str], list[Outcome]]


def measure(
    servers: Servers, directory: Path, kinds: Mapping[str, Kind], records: int, rounds: int
) -> Found:
    """Return what every round of each kind took, by its name and the client."""
    found: Found = {}
    benches: dict[tuple[int, int], Bench] = {}
    for number in range(rounds):
        for name, kind in kinds.items():
            place = kind.features, kind.rows
            if place not in benches:
                own = directory / f"{number}-{len(benches)}"
                own.mkdir()
                count = max(records * 4 // (kind.rows + 3), 1)
                benches[place] = Bench.prepare(servers, own, count, *place)
            for client in _CLIENTS:
                outcomes = found.setdefault((name, client), [])
                # The hand loop on kafka-python never joins its group now and then.
                try:
                    outcomes.append(drain(benches[place], kind.made_for(client), _LIMIT_SECONDS))
                    print(f"{name}, {client}: {outcomes[-1]}", file=sys.stderr)
                except AssertionError as error:
                    print(f"{name}, {client}: FAILED\n{error}", file=sys.stderr)
    return found


def rows_of(found: Found) -> list[list[str]]:
    """Return the table: medians of the rounds that did not fail."""
    cpu = {
        key: median(one.cpu_us_per_record for one in outcomes)
        for key, outcomes in found.items()
        if outcomes
    }
    table = []
    for (name, client), outcomes in found.items():
        if not outcomes:
            table.append([name, client, "FAILED", *[""] * 3])
            continue
        kind = KINDS[name]
        as_json = cpu.get((f"JSON, one row of {kind.features}", client))
        per_row = cpu[name, client] / kind.rows
        table.append(
            [
                *(name, client),
                f"{median(one.records_per_second for one in outcomes):,.0f}",
                f"{cpu[name, client]:.1f}",
                f"{per_row:.1f}",
                "" if as_json is None else f"{per_row / as_json:.2f}",
            ]
        )
    return table


def _rows(options: Namespace) -> list[list[str]]:
    kinds = only(options.only, KINDS)
    with workplace() as (servers, directory):
        return rows_of(measure(servers, directory, kinds, options.records, options.rounds))


NUMBERS = {"records": (40_000, "of one row each"), "rounds": (1, "")}
MEASUREMENT = Measurement("kinds", __doc__, _COLUMNS, _rows, NUMBERS)


if __name__ == "__main__":
    sys.exit(MEASUREMENT.main())
