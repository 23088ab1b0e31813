"""How long a record takes from publish to result when little goes on: `make bench-latency`.

Records are published at their moments on the clock, whether or not those before have been
answered, so that a program that stalls is charged for everything that waited. The reader and the
publisher are the same for all, and the bare echoes tell what they and Kafka cost. Workers have
their defaults. CPU is user and system time of the program and its children; with `--busy 1` another
process keeps a core busy meanwhile.
"""

import argparse
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from benchmarks.competitors import LATENCY, Competitor
from benchmarks.docs import replace_section
from benchmarks.drain_report import TABLE_WIDTH
from benchmarks.measure import usage
from benchmarks.options import only
from benchmarks.runs import Bench, Running, running
from benchmarks.servers import open_servers

COLUMNS = (
    *("what", "client", "p50 ms", "p99 ms", "max ms", "p50 over echo", "p99 over echo"),
    *("CPU us/record", "CPU x echo"),
)
ECHO = LATENCY[0].kind
GRACE_SECONDS = 10.0
READ_SECONDS = 0.1


@dataclass
class Samples:
    """What was measured of one competitor."""

    seconds: list[float] = field(default_factory=list)
    """Each record's latency."""
    cpu_seconds: float = 0.0
    """Of all these records."""

    def __iadd__(self, other: "Samples") -> "Samples":
        self.seconds += other.seconds
        self.cpu_seconds += other.cpu_seconds
        return self

    @property
    def cpu_us(self) -> float:
        """Return the microseconds of CPU that a record took."""
        return self.cpu_seconds / len(self.seconds) * 1e6


def measure(bench: Bench, competitor: Competitor, rate: float) -> Samples:
    """Return what each measured record took."""
    with running(bench, competitor) as run:
        before = usage(run.process.pid).cpu_seconds
        published: dict[bytes, float] = {}
        publisher = threading.Thread(target=_publish, args=(bench, run, rate, published))
        publisher.start()
        latencies = _read(bench, run, len(bench.measured) / rate + GRACE_SECONDS, published)
        publisher.join()
        return Samples(latencies, usage(run.process.pid).cpu_seconds - before)


def _publish(bench: Bench, run: Running, rate: float, published: dict[bytes, float]) -> None:
    started = time.perf_counter()
    with run.source.one_at_a_time() as publish:
        for number, index in enumerate(bench.measured):
            # A wait that ends late is not made up for by the next: each has its own moment.
            time.sleep(max(0.0, started + number / rate - time.perf_counter()))
            published[bench.workload.ids[index].encode()] = time.perf_counter()
            publish(index)


def _read(
    bench: Bench, run: Running, limit_seconds: float, published: dict[bytes, float]
) -> list[float]:
    latencies: dict[bytes, float] = {}
    deadline = time.monotonic() + limit_seconds
    while len(latencies) < len(bench.measured):
        message = run.results.read_one(READ_SECONDS)
        if message is not None and message.key() not in latencies:
            latencies[message.key()] = time.perf_counter() - published[message.key()]
        run.check_alive()
        if time.monotonic() > deadline:
            missing = len(bench.measured) - len(latencies)
            raise AssertionError(f"{missing} results are missing\n{run.process.log_tail()}")
    return list(latencies.values())


def cells(samples: dict[Competitor, Samples]) -> list[list[str]]:
    """Return the table's rows; a competitor without samples has failed."""
    echoes = {row.client: found for row, found in samples.items() if row.kind == ECHO}
    return [
        [row.kind, row.client, *_numbers(found, echoes.get(row.client, Samples()))]
        for row, found in samples.items()
    ]


def _numbers(found: Samples, echo: Samples) -> list[str]:
    if not found.seconds:
        return ["FAILED", *[""] * 6]
    p50, p99, most = np.percentile(found.seconds, [50, 99, 100]) * 1e3
    absolute = [f"{p50:.1f}", f"{p99:.1f}", f"{most:.1f}"]
    cpu = f"{found.cpu_us:,.0f}"
    if not echo.seconds:
        return [*absolute, "", "", cpu, ""]
    echo_p50, echo_p99 = np.percentile(echo.seconds, [50, 99]) * 1e3
    over_echo = [f"{p50 - echo_p50:+.1f}", f"{p99 - echo_p99:+.1f}"]
    return [*absolute, *over_echo, cpu, f"{found.cpu_us / echo.cpu_us:.1f}"]


@contextmanager
def busy_cores(count: int) -> Iterator[None]:
    """Have as many other processes use all the CPU that they get."""
    others = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for one in others:
            one.kill()
            one.wait()


def run_rounds(
    bench: Bench, competitors: Sequence[Competitor], rate: float, rounds: int
) -> dict[Competitor, Samples]:
    """Return every competitor's samples of all rounds; none when any of its rounds failed."""
    console = Console(stderr=True)
    samples = {row: Samples() for row in competitors}
    failed = set()
    for number in range(1, rounds + 1):
        for row, found in samples.items():
            try:
                found += measure(bench, row, rate)
                p50, p99 = np.percentile(found.seconds, [50, 99]) * 1e3
                said = f"p50 {p50:.1f} ms, p99 {p99:.1f} ms so far"
            except AssertionError as error:
                failed.add(row)
                said = f"FAILED: {error}"
            console.print(f"round {number}: {row.name}: {said}", markup=False, soft_wrap=True)
    return {row: Samples() if row in failed else found for row, found in samples.items()}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 when any run failed."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--rate", type=float, default=200.0, help="records a second")
    parser.add_argument("--seconds", type=float, default=15.0, help="of each run")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--busy", type=int, default=0, help="cores that others keep busy")
    parser.add_argument("--only", default="", help="competitors whose name contains this")
    parser.add_argument("--bootstrap-servers", help="use this Kafka; default: start Apache Kafka")
    parser.add_argument("--redis-url", help="use this Redis; default: start Valkey")
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/")
    options = parser.parse_args(arguments)
    competitors = list(only(options.only, {row.name: row for row in LATENCY}).values())
    with (
        tempfile.TemporaryDirectory(prefix="topicserve-bench-") as directory,
        open_servers(options.bootstrap_servers, options.redis_url) as servers,
    ):
        bench = Bench.prepare(servers, Path(directory), int(options.rate * options.seconds))
        with busy_cores(options.busy):
            samples = run_rounds(bench, competitors, options.rate, options.rounds)
    rows = cells(samples)
    table = Table(*COLUMNS, title=f"Publish to result at {options.rate:g} records a second")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else TABLE_WIDTH).print(table)
    if options.write_docs:
        command = (
            f"python -m benchmarks.latency --rate {options.rate:g} --seconds {options.seconds:g}"
            f" --rounds {options.rounds}"
        ) + (f" --busy {options.busy}" if options.busy else "")
        replace_section("latency", command, COLUMNS, rows)
    return 0 if all(found.seconds for found in samples.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
