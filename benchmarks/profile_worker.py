"""Where a worker's CPU goes while it drains a backlog.

Sampling makes it some percent slower: read the shares, not the totals.
"""

import argparse
import signal
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from benchmarks.competitors import DRAIN, Competitor, Program, Run
from benchmarks.runs import Bench, running
from benchmarks.servers import open_servers

LIMIT_SECONDS = 120.0


def sampled(competitor: Competitor, report: Path) -> Competitor:
    """Return the same worker, run by benchmarks.sampler."""

    def program(run: Run) -> Program:
        plain = competitor.program(run)
        python, _, _, *arguments = plain.command  # python -m topicserve ...
        command = [python, "-m", "benchmarks.sampler", str(report), *arguments]
        return Program(command, plain.environment)

    return replace(competitor, program=program)


def profile(bench: Bench, competitor: Competitor, report: Path) -> str:
    """Drain the backlog once and return the sampler's report."""
    with running(bench, sampled(competitor, report)) as run:
        run.source.write_held_back(bench.measured)
        run.process.send_signal(signal.SIGUSR1)
        run.source.release()
        run.read_until_complete(len(bench.measured), LIMIT_SECONDS)
        run.process.send_signal(signal.SIGUSR1)
        run.process.send_signal(signal.SIGTERM)
        run.process.wait(LIMIT_SECONDS)
    return report.read_text()


def main(arguments: Sequence[str] | None = None) -> int:
    """Profile the workers whose names contain what is asked for."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.profile_worker", description=__doc__
    )
    parser.add_argument("--only", default="confluent, at_least_once", help="part of a name")
    parser.add_argument("--records", type=int, default=60_000)
    parser.add_argument("--bootstrap-servers", help="use this Kafka; default: start Apache Kafka")
    parser.add_argument("--redis-url", help="use this Redis; default: start Valkey")
    options = parser.parse_args(arguments)
    workers = [row for row in DRAIN if row.kind == "topicserve" and options.only in row.name]
    with (
        tempfile.TemporaryDirectory(prefix="topicserve-bench-") as directory,
        open_servers(options.bootstrap_servers, options.redis_url) as servers,
    ):
        bench = Bench.prepare(servers, Path(directory), options.records)
        for row in workers:
            print(f"=== {row.name}\n{profile(bench, row, Path(directory) / 'report')}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
