"""How much memory a worker takes for records that ask for as much as they can.

    python -m benchmarks.memory [--client confluent] [--only TEXT] [--records 60] [--write-docs]

Each kind of record has a worker of its own, with the default limits, which finds them all in its
topic. The highest resident memory that the kernel has seen is compared with what the worker had
before, in multiples of `batching.max_in_flight_bytes`.
"""

import argparse
import os
import sys
import tempfile
from pathlib import Path

from benchmarks.docs import markdown, replace_section
from benchmarks.options import only
from tests.support.processes.memory import LOADS, MIX, Memory, measure
from tests.support.stages.heavy_servable import install_heavy
from topicserve.embedded.stack import Stack

_MIB = 1024 * 1024
_COLUMNS = ("record", "idle MiB", "peak MiB", "above idle MiB", "x max_in_flight_bytes", "seconds")


def _row(name: str, memory: Memory) -> list[str]:
    idle, peak = memory.idle_bytes, memory.peak_bytes
    sizes = [f"{size / _MIB:.0f}" for size in (idle, peak, peak - idle)]
    return [name, *sizes, f"{memory.times_in_flight:.1f}", f"{memory.seconds:.0f}"]


def main() -> int:
    """Measure, print the table, and write it to the page where asked to."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--client", default="kafka-python", choices=("kafka-python", "confluent"))
    parser.add_argument("--only", default="", metavar="TEXT", help="kinds whose name contains it")
    parser.add_argument("--records", type=int, default=60, help="records of each kind")
    parser.add_argument("--write-docs", action="store_true", help="write docs/benchmarks.md")
    arguments = parser.parse_args()
    chosen = only(arguments.only, dict.fromkeys([*LOADS, MIX]))
    rows = []
    with tempfile.TemporaryDirectory() as path, Stack() as stack:
        directory = Path(path)
        # Workers find the kind as they find a user's own.
        given = os.environ.get("PYTHONPATH", "")
        os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [install_heavy(directory), given]))
        for name in chosen:
            memory = measure(name, arguments.records, arguments.client, stack, directory)
            row = _row(name, memory)
            rows.append(row)
            print("  ".join(row), flush=True)
    print("\n".join(markdown(_COLUMNS, rows)))
    if arguments.write_docs:
        replace_section(
            "memory", f"python -m benchmarks.memory --records {arguments.records}", _COLUMNS, rows
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
