"""How long a worker takes from its start until it is ready: `make bench-start`.

    python -m benchmarks.start [--rounds 3] [--write-docs]

A worker is started on the embedded servers and asked until `/readyz` answers 200: it has joined its
group and its servable is available. A look-up table and an ONNX model need no TensorFlow; a
SavedModel does, so `import tensorflow` alone is measured beside it, in the same round. CPU is user
and system time, which other work on the machine changes less than the clock. One round comes before
the measured ones, so that all modules are compiled, as they are where they have been installed.
"""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
import time
import uuid
from collections.abc import Mapping
from pathlib import Path
from statistics import median
from typing import Any, NamedTuple

from benchmarks.docs import markdown, replace_section
from benchmarks.measure import usage
from tests.support.kafka.topics import open_topics
from tests.support.processes.stack import resident_bytes
from tests.support.processes.worker_process import WorkerProcess
from tests.support.servables.models import Network, export_networks
from tests.support.servables.onnx_files import write_network
from tests.support.servables.table import TABLE, table_servable, write_table
from topicserve.embedded.stack import Stack

_COLUMNS = (
    *("what", "client", "seconds", "CPU seconds", "CPU seconds beyond import tensorflow"),
    "RSS MiB",
)
_CLIENTS = ("confluent", "kafka-python")
_PAUSE_SECONDS = 0.01
_LIMIT_SECONDS = 120.0
_MIB = 1024 * 1024
_IMPORT = "import tensorflow"
# Without what the end of the process takes: the workers are measured while they run.
_IMPORT_ALONE = f"{_IMPORT}, os; os._exit(0)"


class Start(NamedTuple):
    """What one start took, by the clock and of CPU."""

    seconds: float
    cpu_seconds: float
    resident_bytes: int = 0


def start_worker(stack: Stack, directory: Path, client: str, servable: Mapping[str, Any]) -> Start:
    """Start a worker and return what it took until it was ready."""
    run_id = uuid.uuid4().hex[:8]
    topics = f"in-{run_id}", f"out-{run_id}", f"in-{run_id}.dead-letter"
    config = {
        "kafka": {
            "bootstrap_servers": stack.bootstrap_servers,
            "group_id": f"group-{run_id}",
            "client": client,
        },
        "topics": {"input": [topics[0]], "output": topics[1]},
        "metadata": {"redis_url": stack.redis_url},
        "http": {"port": 0},
        "servables": [servable],
    }
    worker = WorkerProcess(config, directory, f"worker-{run_id}")
    with open_topics(stack.bootstrap_servers, *topics, partitions=4):
        started = time.perf_counter()
        with worker:
            worker.wait_ready()
            while worker.get("/readyz")[0] != 200:
                if time.perf_counter() - started > _LIMIT_SECONDS:
                    raise AssertionError(worker.log_tail())
                time.sleep(_PAUSE_SECONDS)
            seconds, cpu_seconds = time.perf_counter() - started, usage(worker.pid).cpu_seconds
            return Start(seconds, cpu_seconds, resident_bytes(worker.pid))


def import_tensorflow() -> Start:
    """Return what importing TensorFlow takes in a process of its own."""
    before, started = os.times(), time.perf_counter()
    environment = os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"}
    subprocess.run([sys.executable, "-c", _IMPORT_ALONE], check=True, env=environment)
    after = os.times()
    cpu = (
        after.children_user + after.children_system - before.children_user - before.children_system
    )
    return Start(time.perf_counter() - started, cpu)


def measure(rounds: int) -> dict[tuple[str, str], list[Start]]:
    """Return what each start of each round took; the programs take turns."""
    found: dict[tuple[str, str], list[Start]] = {}
    directory = Path(tempfile.mkdtemp(prefix="topicserve-start-"))
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    os.environ["PYTHONPYCACHEPREFIX"] = str(directory / "compiled")
    try:
        write_table(directory / TABLE, 1)
        export_networks(directory / "network", {1: Network()})
        write_network(directory / "onnx", 1, Network())
        servables = {
            "hashmap": table_servable(directory / TABLE),
            "onnx": {"name": "network", "base_path": str(directory / "onnx"), "kind": "onnx"},
            "saved_model": {"name": "network", "base_path": str(directory / "network")},
        }
        with Stack() as stack:
            for _ in range(1 + rounds):
                found.setdefault((_IMPORT, ""), []).append(import_tensorflow())
                for kind, servable in servables.items():
                    for client in _CLIENTS:
                        one = start_worker(stack, directory, client, servable)
                        found.setdefault((kind, client), []).append(one)
                        print(f"{kind}, {client}: {one}", file=sys.stderr)
    finally:
        shutil.rmtree(directory)
    return {key: starts[1:] for key, starts in found.items()}


def rows_of(found: Mapping[tuple[str, str], list[Start]]) -> list[list[str]]:
    """Return the table: medians of the rounds."""
    imported = median(one.cpu_seconds for one in found[_IMPORT, ""])
    rows = []
    for (what, client), starts in found.items():
        cpu = median(one.cpu_seconds for one in starts)
        memory = median(one.resident_bytes for one in starts)
        rows.append(
            [
                *(what, client),
                f"{median(one.seconds for one in starts):.2f}",
                f"{cpu:.2f}",
                f"{cpu - imported:.2f}" if what == "saved_model" else "",
                f"{memory / _MIB:.0f}" if memory else "",
            ]
        )
    return rows


def main() -> int:
    """Measure, print the table, and write it to the page where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    arguments = parser.parse_args()
    rows = rows_of(measure(arguments.rounds))
    print("\n".join(markdown(_COLUMNS, rows)))
    if arguments.write_docs:
        command = f"python -m benchmarks.start --rounds {arguments.rounds}"
        replace_section("start", command, _COLUMNS, rows)
    return 0


if __name__ == "__main__":
    sys.exit(main())
