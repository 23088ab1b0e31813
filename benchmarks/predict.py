"""How long `predict` takes, beside the bare round trip of a record: `make bench-predict`.

One request at a time, the ways in turn, through one worker: what differs is the client alone. The
bare round trip sends a prepared record, whose metadata is in the store already, and reads its
result with a consumer of its own.
"""

import argparse
import asyncio
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path

import numpy as np
import orjson
from rich.console import Console
from rich.table import Table

from benchmarks.competitors import LATENCY
from benchmarks.docs import replace_section
from benchmarks.drain_report import TABLE_WIDTH
from benchmarks.runs import Bench, Running, running
from benchmarks.servers import open_servers
from benchmarks.workload import SERVABLE
from topicserve import AsyncPredictClient, PredictClient

COLUMNS = ("what", "client", "p50 ms", "p99 ms", "p50 over bare")
LIMIT_SECONDS = 10.0
WARM_UP_REQUESTS = 50
WAYS = 5

Ask = Callable[[int], None]
"""Sends the record with this index, and returns once its result is there."""


def measure(bench: Bench, requests: int) -> dict[tuple[str, str], list[float]]:
    """Return the seconds of each request, by the way and the client."""
    (row,) = [one for one in LATENCY if one.kind == "topicserve" and one.client == "confluent"]
    with running(bench, row) as run, ExitStack() as opened:
        ways: dict[tuple[str, str], Ask] = {("bare", "confluent"): _bare(bench, run, opened)}
        for client in ("confluent", "kafka-python"):
            ways["predict", client] = _predict(bench, run, client, opened)
            ways["await predict", client] = _await_predict(bench, run, client, opened)
        samples: dict[tuple[str, str], list[float]] = {way: [] for way in ways}
        for number in range(requests + WARM_UP_REQUESTS):
            for turn, (way, ask) in enumerate(ways.items()):
                started = time.perf_counter()
                ask(number * len(ways) + turn)
                if number >= WARM_UP_REQUESTS:
                    samples[way].append(time.perf_counter() - started)
            run.check_alive()
    return samples


def _bare(bench: Bench, run: Running, opened: ExitStack) -> Ask:
    publish = opened.enter_context(run.source.one_at_a_time())

    def ask(index: int) -> None:
        key = bench.workload.ids[index].encode()
        publish(index)
        while (message := run.results.read_one(LIMIT_SECONDS)) is not None:
            if message.key() == key:
                return
        raise AssertionError("no result")

    return ask


def _predict(bench: Bench, run: Running, client: str, opened: ExitStack) -> Ask:
    kafka, redis = bench.servers
    own = PredictClient.connect(kafka, redis, *run.topics[:2], servable=SERVABLE, client=client)
    opened.enter_context(own).wait_ready(LIMIT_SECONDS)

    def ask(index: int) -> None:
        metadata = orjson.loads(bench.workload.metadata(index))
        own.predict(instance=bench.workload.rows[index], metadata=metadata, timeout=LIMIT_SECONDS)

    return ask


def _await_predict(bench: Bench, run: Running, client: str, opened: ExitStack) -> Ask:
    kafka, redis = bench.servers
    runner = opened.enter_context(asyncio.Runner())

    async def connected() -> AsyncPredictClient:
        own = AsyncPredictClient.connect(
            kafka, redis, *run.topics[:2], servable=SERVABLE, client=client
        )
        await own.wait_ready(LIMIT_SECONDS)
        return own

    own = runner.run(connected())
    opened.callback(lambda: runner.run(own.close()))

    def ask(index: int) -> None:
        metadata = orjson.loads(bench.workload.metadata(index))
        row = bench.workload.rows[index]
        runner.run(own.predict(instance=row, metadata=metadata, timeout=LIMIT_SECONDS))

    return ask


def cells(samples: dict[tuple[str, str], list[float]]) -> list[list[str]]:
    """Return the table's rows."""
    bare = np.percentile(samples["bare", "confluent"], 50) * 1e3
    rows = []
    for (what, client), found in samples.items():
        p50, p99 = np.percentile(found, [50, 99]) * 1e3
        rows.append([what, client, f"{p50:.1f}", f"{p99:.1f}", f"{p50 - bare:+.1f}"])
    return rows


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.predict", description=__doc__)
    parser.add_argument("--requests", type=int, default=500, help="of each way")
    parser.add_argument("--bootstrap-servers", help="use this Kafka; default: start Apache Kafka")
    parser.add_argument("--redis-url", help="use this Redis; default: start Valkey")
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/")
    options = parser.parse_args(arguments)
    with (
        tempfile.TemporaryDirectory(prefix="topicserve-bench-") as directory,
        open_servers(options.bootstrap_servers, options.redis_url) as servers,
    ):
        records = (options.requests + WARM_UP_REQUESTS) * WAYS
        rows = cells(measure(Bench.prepare(servers, Path(directory), records), options.requests))
    table = Table(*COLUMNS, title="One request at a time")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else TABLE_WIDTH).print(table)
    if options.write_docs:
        command = f"python -m benchmarks.predict --requests {options.requests}"
        replace_section("predict", command, COLUMNS, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
