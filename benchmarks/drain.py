"""How fast, and for how much CPU, a backlog is drained: `make bench`.

Every competitor is started, answers some records to warm up, and then finds the whole backlog at
once. Rounds alternate between competitors, so that whatever else the machine does meets them all.
"""

import argparse
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from benchmarks.competitors import DRAIN, Competitor, Run
from benchmarks.drain_report import Failure, Outcome, Row, show, write_docs
from benchmarks.measure import usage
from benchmarks.servers import Servers, open_servers, store_metadata
from benchmarks.topics import InputTopic, OutputTopic, open_topics
from benchmarks.verify import Answers
from benchmarks.workload import Workload
from tests.support.child_process import ChildProcess
from tests.support.models import Network, export_network

WARM_UP_RECORDS = 256
START_LIMIT_SECONDS = 90.0
READ_SECONDS = 0.02


@dataclass(frozen=True)
class Bench:
    """What all runs share."""

    servers: Servers
    workload: Workload
    """The backlog, and behind it the records to warm up with."""
    backlog_records: int
    network: Network
    model_base_path: Path
    directory: Path
    limit_seconds: float

    @property
    def backlog(self) -> range:
        """Return the indexes of the records that are drained."""
        return range(self.backlog_records)

    @property
    def warm_up(self) -> range:
        """Return the indexes of the records before the measured ones."""
        return range(self.backlog_records, len(self.workload.ids))


def drain(bench: Bench, competitor: Competitor) -> Outcome:
    """Start a competitor, let it drain the backlog, and return what that took."""
    with _running(bench, competitor) as (process, source, results):
        answers = Answers(bench.workload, bench.network)
        source.write(bench.warm_up)
        _read_until_complete(results, answers, bench.warm_up, process, START_LIMIT_SECONDS)
        source.write_held_back(bench.backlog)

        before, started = usage(process.pid), time.monotonic()
        source.release()
        _read_until_complete(results, answers, bench.backlog, process, bench.limit_seconds)
        seconds, after = time.monotonic() - started, usage(process.pid)

        answers.check()
    return Outcome(
        records_per_second=bench.backlog_records / seconds,
        cpu_us_per_record=(after.cpu_seconds - before.cpu_seconds) / bench.backlog_records * 1e6,
        peak_rss_bytes=after.peak_rss_bytes,
        duplicates=answers.duplicates,
    )


@contextmanager
def _running(
    bench: Bench, competitor: Competitor
) -> Iterator[tuple[ChildProcess, InputTopic, OutputTopic]]:
    run_id = uuid.uuid4().hex[:8]
    directory = bench.directory / run_id
    directory.mkdir()
    run = Run(
        servers=bench.servers,
        input_topic=f"in-{run_id}",
        output_topic=f"out-{run_id}",
        group_id=f"group-{run_id}",
        model_base_path=bench.model_base_path,
        directory=directory,
    )
    program = competitor.program(run)
    bootstrap = bench.servers.bootstrap_servers
    source = InputTopic(bootstrap, run.input_topic, bench.workload, competitor.shape)
    with (
        open_topics(bootstrap, run.input_topic, run.output_topic, run.dead_letter_topic),
        OutputTopic(bootstrap, run.output_topic) as results,
        ChildProcess(program.command, directory / "log", program.environment) as process,
    ):
        yield process, source, results


def _read_until_complete(
    results: OutputTopic,
    answers: Answers,
    wanted: range,
    process: ChildProcess,
    limit_seconds: float,
) -> None:
    deadline = time.monotonic() + limit_seconds
    complete = len(answers) + len(wanted)
    while len(answers) < complete:
        answers.add(results.read(READ_SECONDS))
        if not process.running:
            raise AssertionError(f"ended with {process.exit_code}\n{process.log_tail()}")
        if time.monotonic() > deadline:
            missing = complete - len(answers)
            raise AssertionError(
                f"{missing} results are missing after {limit_seconds} s\n{process.log_tail()}"
            )


def run_rounds(bench: Bench, competitors: Sequence[Competitor], rounds: int) -> list[Row]:
    """Run every competitor once a round; a run that fails is a row marked failed."""
    console = Console(stderr=True)
    rows = [Row(competitor) for competitor in competitors]
    for number in range(1, rounds + 1):
        for row in rows:
            outcome: Outcome | Failure
            try:
                outcome = drain(bench, row.competitor)
            except AssertionError as error:
                outcome = Failure(str(error))
            row.outcomes.append(outcome)
            console.print(
                f"round {number}: {row.competitor.name}: {outcome}", markup=False, soft_wrap=True
            )
    return rows


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.drain", description=__doc__)
    parser.add_argument("--records", type=int, default=60_000)
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
    competitors = [row for row in DRAIN if options.only in row.name]
    with (
        tempfile.TemporaryDirectory(prefix="topicserve-bench-") as directory,
        open_servers(options.bootstrap_servers, options.redis_url) as servers,
    ):
        network = Network()
        bench = Bench(
            servers=servers,
            workload=Workload.make(options.records + WARM_UP_RECORDS),
            backlog_records=options.records,
            network=network,
            model_base_path=export_network(Path(directory) / "network", 1, network).parent,
            directory=Path(directory),
            limit_seconds=options.limit_seconds,
        )
        store_metadata(servers.redis_url, bench.workload)
        rows = run_rounds(bench, competitors, options.rounds)
    show(rows, options.records)
    if options.write_docs:
        write_docs(rows, options.records)
    return 1 if any(row.failed for row in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
