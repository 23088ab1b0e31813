"""How fast, and for how much CPU, a backlog is drained: `make bench`.

Every competitor is started, answers some records to warm up, and then finds the whole backlog at
once. Rounds alternate between competitors, so that whatever else the machine does meets them all.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from benchmarks.competitors import DRAIN, Competitor
from benchmarks.drain_report import Failure, Outcome, Row, show, write_docs
from benchmarks.measure import usage
from benchmarks.options import only
from benchmarks.runs import Bench, running
from benchmarks.servers import open_servers
from benchmarks.topics import PARTITIONS


def drain(
    bench: Bench, competitor: Competitor, limit_seconds: float, partitions: int = PARTITIONS
) -> Outcome:
    """Start a competitor, let it drain the backlog, and return what that took."""
    records = len(bench.measured)
    with running(bench, competitor, partitions) as run:
        run.hold_back(bench.measured)

        before, started = usage(run.process.pid), time.monotonic()
        run.release()
        run.read_until_complete(records, limit_seconds)
        seconds, after = time.monotonic() - started, usage(run.process.pid)

        run.answers.check()
    return Outcome(
        records_per_second=records / seconds,
        cpu_us_per_record=(after.cpu_seconds - before.cpu_seconds) / records * 1e6,
        peak_rss_bytes=after.peak_rss_bytes,
        duplicates=run.answers.duplicates,
    )


def run_rounds(
    bench: Bench, competitors: Sequence[Competitor], rounds: int, limit_seconds: float
) -> list[Row]:
    """Run every competitor once a round; a run that fails is a row marked failed."""
    console = Console(stderr=True)
    rows = [Row(competitor) for competitor in competitors]
    for number in range(1, rounds + 1):
        for row in rows:
            outcome: Outcome | Failure
            try:
                outcome = drain(bench, row.competitor, limit_seconds)
            except AssertionError as error:
                outcome = Failure(str(error))
            row.outcomes.append(outcome)
            console.print(
                f"round {number}: {row.competitor.name}: {outcome}", markup=False, soft_wrap=True
            )
    return rows


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drain", description=__doc__)
    parser.add_argument("--records", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="", help="competitors whose name contains this")
    parser.add_argument("--limit-seconds", type=float, default=120.0, help="for one drain")
    parser.add_argument("--bootstrap-servers", help="use this Kafka; default: start Apache Kafka")
    parser.add_argument("--redis-url", help="use this Redis; default: start Valkey")
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/")
    return parser.parse_args(arguments)


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 when any run failed."""
    options = _options(arguments)
    competitors = list(only(options.only, {row.name: row for row in DRAIN}).values())
    with (
        tempfile.TemporaryDirectory(prefix="topicserve-bench-") as directory,
        open_servers(options.bootstrap_servers, options.redis_url) as servers,
    ):
        bench = Bench.prepare(servers, Path(directory), options.records)
        rows = run_rounds(bench, competitors, options.rounds, options.limit_seconds)
    show(rows, options.records)
    if options.write_docs:
        write_docs(rows, options.records)
    return 1 if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
