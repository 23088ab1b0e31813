"""A file that is published by a command which is killed twice: `make bench-publish`.

The account afterwards: rows that are missing or published twice, ids that differ between the copies
of a row, metadata that is not there, and the memory of each command.
"""

import argparse
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import numpy as np
import orjson
import pyarrow as pa
from confluent_kafka import Consumer, TopicPartition
from pyarrow import parquet
from rich.console import Console
from rich.table import Table

from benchmarks.docs import replace_section
from benchmarks.drain_report import TABLE_WIDTH
from topicserve.backends.redis_store import RedisMetadataStore
from topicserve.cli.publish.checkpoint import State
from topicserve.embedded.stack import Stack

COLUMNS = (
    *("client", "rows", "seconds", "peak RSS MiB", "killed at", "rows missing"),
    *("rows twice", "copies with another id", "metadata missing"),
)
TOPIC, PARTITIONS, FEATURES, USERS = "rows", 4, 8, 977
_GROUP_ROWS = 100_000
_CHUNK_ROWS = 10_000
_SAMPLE_SECONDS = 0.05


class Command(NamedTuple):
    """One run of the command."""

    seconds: float
    peak_mib: int
    position: int
    """Where its checkpoint was in the end."""


def write_rows(file: Path, rows: int) -> None:
    """Write a Parquet file in groups of rows."""
    columns = ["n", "user", *(f"x{number}" for number in range(FEATURES))]
    kinds = [pa.int64(), pa.int64(), *[pa.float32()] * FEATURES]
    schema = pa.schema(list(zip(columns, kinds, strict=True)))
    random = np.random.default_rng(0)
    with parquet.ParquetWriter(file, schema) as writer:
        for start in range(0, rows, _GROUP_ROWS):
            numbers = np.arange(start, min(start + _GROUP_ROWS, rows))
            features = random.standard_normal((FEATURES, len(numbers))).astype(np.float32)
            arrays = [pa.array(column) for column in (numbers, numbers % USERS, *features)]
            writer.write_table(pa.table(arrays, schema=schema))


def run_command(words: Sequence[str], state: Path, kill_at: int | None) -> Command:
    """Run the command, and kill it once its checkpoint is behind a position."""
    started, peak_mib = time.monotonic(), 0
    process = subprocess.Popen(words)
    while process.poll() is None:
        time.sleep(_SAMPLE_SECONDS)
        peak_mib = max(peak_mib, _peak_mib(process.pid))
        if kill_at is not None and _position(state) >= kill_at:
            process.send_signal(signal.SIGKILL)
            process.wait()
    expected = 0 if kill_at is None else -signal.SIGKILL
    assert process.returncode == expected, f"ended with {process.returncode}"
    return Command(time.monotonic() - started, peak_mib, _position(state))


def _peak_mib(process_id: int) -> int:
    status = Path(f"/proc/{process_id}/status").read_text()
    found = [line.split()[1] for line in status.splitlines() if line.startswith("VmHWM")]
    return int(found[0]) // 1024 if found else 0  # none once it has ended


def _position(state: Path) -> int:
    if not state.exists():
        return 0
    return int(msgspec.json.decode(state.read_bytes(), type=State).position or 0)


def account(stack: Stack, rows: int) -> list[int]:
    """Return how many rows are missing, twice, with another id, and without metadata."""
    copies = np.zeros(rows, np.int64)
    ids: dict[int, bytes] = {}
    other_ids = 0
    for number, record_id in _published(stack.bootstrap_servers):
        copies[number] += 1
        other_ids += ids.setdefault(number, record_id) != record_id
    return [
        int((copies == 0).sum()),
        int((copies > 1).sum()),
        other_ids,
        _without_metadata(stack.redis_url, ids),
    ]


def _published(bootstrap_servers: str) -> list[tuple[int, bytes]]:
    consumer = Consumer({"bootstrap.servers": bootstrap_servers, "group.id": "account"})
    partitions = [TopicPartition(TOPIC, number, 0) for number in range(PARTITIONS)]
    consumer.assign(partitions)
    left = sum(consumer.get_watermark_offsets(one)[1] for one in partitions)
    found: list[tuple[int, bytes]] = []
    while len(found) < left:
        for message in consumer.consume(_CHUNK_ROWS, 1.0):
            row = orjson.loads(message.value())["instance"]
            found.append((row["n"], dict(message.headers())["ce_id"]))
    consumer.close()
    return found


def _without_metadata(redis_url: str, ids: dict[int, bytes]) -> int:
    store, missing, numbers = RedisMetadataStore(redis_url), 0, sorted(ids)
    for start in range(0, len(numbers), _CHUNK_ROWS):
        part = numbers[start : start + _CHUNK_ROWS]
        found = store.get_many([ids[number].decode() for number in part])
        wanted = [orjson.dumps({"user": number % USERS}) for number in part]
        missing += sum(one != want for one, want in zip(found, wanted, strict=True))
    store.close()
    return missing


def measure(client: str, rows: int, directory: Path) -> list[str]:
    """Return the table's row of a client."""
    file, state = directory / "rows.parquet", directory / f"{client}.state"
    if not file.exists():
        write_rows(file, rows)
    with Stack() as stack:
        words = [
            *(sys.executable, "-m", "topicserve", "publish", str(file), f"--client={client}"),
            *(f"--topic={TOPIC}", f"--create-topics={PARTITIONS}", "--metadata-columns=user"),
            *(f"--bootstrap-servers={stack.bootstrap_servers}", f"--redis-url={stack.redis_url}"),
            f"--checkpoint={state}",
        ]
        runs = [run_command(words, state, kill_at) for kill_at in (rows // 3, 2 * rows // 3, None)]
        numbers = account(stack, rows)
    return [
        client,
        f"{rows:,}",
        ", ".join(f"{one.seconds:.0f}" for one in runs),
        ", ".join(str(one.peak_mib) for one in runs),
        ", ".join(f"{one.position:,}" for one in runs[:-1]),
        *(f"{number:,}" for number in numbers),
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the benchmark; 1 where a row is lost."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.publish_resume", description=__doc__
    )
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--client", action="append", help="kafka-python or confluent; default both")
    parser.add_argument("--write-docs", action="store_true", help="put the table into docs/")
    options = parser.parse_args(arguments)
    clients = options.client or ["kafka-python", "confluent"]
    with tempfile.TemporaryDirectory(prefix="topicserve-bench-") as directory:
        rows = [measure(client, options.rows, Path(directory)) for client in clients]
    table = Table(*COLUMNS, title="Published by a command that is killed twice")
    for row in rows:
        table.add_row(*row)
    Console(width=None if sys.stdout.isatty() else TABLE_WIDTH).print(table)
    if options.write_docs:
        named = "".join(f" --client {client}" for client in options.client or ())
        command = f"python -m benchmarks.publish_resume --rows {options.rows}{named}"
        replace_section("publish", command, COLUMNS, rows)
    return 0 if all(row[5] == "0" for row in rows) else 1


if __name__ == "__main__":
    sys.exit(main())
