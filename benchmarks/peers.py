"""The same job in other frameworks: rate, latency, and what happens to good records.

    python -m benchmarks.peers [--only TEXT] [--records 20000] [--write-docs]

Each is set up as its documentation says is best (benchmarks/peer_programs/), in an environment of
its own, which the first run makes. Four runs of each: a backlog; 200 records a second; a backlog of
which every twentieth record has a row that is one float short; a backlog during which the program
is killed with SIGKILL and started again.
"""

import sys
import time
from argparse import Namespace
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import numpy as np

from benchmarks.competitors import Competitor
from benchmarks.drain import drain
from benchmarks.drain_report import Outcome as Drained
from benchmarks.latency import measure as measure_latency
from benchmarks.options import only
from benchmarks.peer_competitors import PEERS
from benchmarks.rig import Measurement, workplace
from benchmarks.runs import READ_SECONDS, Bench, Running, running
from benchmarks.servers import Servers

COLUMNS = (
    "what",
    "client",
    "records/s",
    "CPU us/record",
    "p50 ms",
    "p99 ms",
    "1 in 20 bad: good records lost",
    "1 in 20 bad: ended",
    "killed: records lost",
    "killed: answered twice",
)
BAD_EVERY = 20
RATE, RATE_SECONDS = 200.0, 10.0
_LIMIT_SECONDS = 120.0
# Longer than a broker waits for a member of a group that was killed (45 s in librdkafka).
_QUIET_SECONDS = 60.0
_MAX_RESTARTS = 2
FAILED = "FAILED"
T = TypeVar("T")


@dataclass(frozen=True)
class Account:
    """What became of the records of one run."""

    lost: int
    records: int
    twice: int
    ended: int
    """How many times the program ended by itself."""

    def __str__(self) -> str:
        return f"{self.lost} of {self.records} lost, {self.twice} twice, ended {self.ended} times"


@dataclass(frozen=True)
class Outcome:
    """A competitor's four runs; None: it failed where nothing should."""

    drained: Drained | None
    latencies: list[float] | None
    bad: Account | None
    killed: Account | None


def with_bad_records(bench: Bench, competitor: Competitor) -> Account:
    """Let a program read a backlog with bad records, and return what became of the good ones."""
    bad = bench.measured[BAD_EVERY - 1 :: BAD_EVERY]
    bench = replace(bench, workload=replace(bench.workload, bad=bad))
    with running(bench, competitor) as run:
        run.hold_back(bench.measured)
        run.release()
        return _account(run, [index for index in bench.measured if index not in bad])


def killed(bench: Bench, competitor: Competitor) -> Account:
    """Kill a program in the middle of a backlog, start it again, and return what became of it."""
    with running(bench, competitor) as run:
        run.hold_back(bench.measured)
        run.release()
        run.read_until_complete(len(bench.measured) // 3, _LIMIT_SECONDS)
        run.process.kill()
        run.process.start()
        return _account(run, bench.measured)


def _account(run: Running, wanted: Sequence[int]) -> Account:
    """Read until all is there or nothing more comes; start a program that ends, as systemd does."""
    ended, newest, quiet_since = 0, len(run.answers), time.monotonic()
    while run.answers.missing(wanted) and time.monotonic() - quiet_since < _QUIET_SECONDS:
        run.answers.add(run.results.read(READ_SECONDS))
        if len(run.answers) > newest:
            newest, quiet_since = len(run.answers), time.monotonic()
        if not run.process.running and ended <= _MAX_RESTARTS:
            ended += 1
            if ended <= _MAX_RESTARTS:
                run.process.start()
    return Account(run.answers.missing(wanted), len(wanted), run.answers.duplicates, ended)


def measure(bench: Bench, latency: Bench, competitor: Competitor) -> Outcome:
    """Return a competitor's four runs."""
    return Outcome(
        _said(lambda: drain(bench, competitor, _LIMIT_SECONDS), competitor, "backlog"),
        _said(lambda: measure_latency(latency, competitor, RATE).seconds, competitor, "latency"),
        _said(lambda: with_bad_records(bench, competitor), competitor, "bad records"),
        _said(lambda: killed(bench, competitor), competitor, "killed"),
    )


def _said(run: Callable[[], T], competitor: Competitor, what: str) -> T | None:
    try:
        found = run()
    except AssertionError as error:
        print(f"{competitor.name}: {what}: {FAILED}: {error}", file=sys.stderr)
        return None
    shown = f"{len(found)} records" if isinstance(found, list) else found
    print(f"{competitor.name}: {what}: {shown}", file=sys.stderr)
    return found


def cells(competitor: Competitor, outcome: Outcome) -> list[str]:
    """Return a row of the table."""
    rate = latency = bad = killed = (FAILED, "")
    if outcome.drained is not None:
        drained = outcome.drained
        rate = f"{drained.records_per_second:,.0f}", f"{drained.cpu_us_per_record:.0f}"
    if outcome.latencies is not None:
        p50, p99 = np.percentile(outcome.latencies, [50, 99]) * 1e3
        latency = f"{p50:.1f}", f"{p99:.1f}"
    if outcome.bad is not None:
        account = outcome.bad
        bad = f"{account.lost:,} of {account.records:,}", _times(account.ended)
    if outcome.killed is not None:
        account = outcome.killed
        killed = f"{account.lost:,} of {account.records:,}", f"{account.twice:,}"
    return [competitor.kind, competitor.client, *rate, *latency, *bad, *killed]


def _times(ended: int) -> str:
    return "no" if not ended else f"each of {ended} times" if ended > _MAX_RESTARTS else f"{ended}"


def _rows(options: Namespace) -> list[list[str]]:
    competitors = only(options.only, {row.name: row for row in PEERS}).values()
    with workplace() as (servers, directory):
        bench = _bench(servers, directory / "backlog", options.records)
        latency = _bench(servers, directory / "latency", int(RATE * RATE_SECONDS))
        return [cells(one, measure(bench, latency, one)) for one in competitors]


def _bench(servers: Servers, directory: Path, records: int) -> Bench:
    directory.mkdir()
    return Bench.prepare(servers, directory, records)


MEASUREMENT = Measurement(
    "peers", __doc__, COLUMNS, _rows, {"records": (20_000, "of each backlog")}
)


if __name__ == "__main__":
    sys.exit(MEASUREMENT.main())
