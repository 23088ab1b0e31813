"""What a GPU makes of a model that is the work: `make bench-gpu`.

A SavedModel of 20 layers is called through its kind, on the CPU and on the first GPU, in processes
of their own. Where TensorFlow finds no GPU, it says so and measures nothing.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.docs import markdown
from tests.support.servables.kind_context import ServablesInMemory
from tests.support.servables.models import CLASSES, FEATURES, Network, export_networks
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.registry import load_kind

COLUMNS = ("rows of a call", "device", "rows/s", "CPU us/row", "GPU MiB of the process")
BATCH_ROWS = (1, 32, 1024)
NO_GPU = (
    "TensorFlow finds no GPU here; nothing is measured. It takes a machine with an NVIDIA GPU and "
    "its driver, and topicserve[worker-gpu] in place of [worker]."
)
_CHECKOUT = Path(__file__).parents[1]
_LIMIT_SECONDS = 900.0
_WARM_UP_CALLS = 3


def finds_gpu() -> bool:
    """Return whether TensorFlow finds a GPU, in a process of its own."""
    count = "import tensorflow as tf; print(len(tf.config.list_physical_devices('GPU')))"
    return int(_run(["-c", count], {})) > 0


def measure(model: Path, device: str, seconds: float) -> list[list[str]]:
    """Return the rows of the table for one device."""
    hidden = {"CUDA_VISIBLE_DEVICES": "-1"} if device == "cpu" else {}
    command = ["-m", "benchmarks.gpu", "--call", str(model), "--seconds", str(seconds)]
    return [
        [
            *(str(found["rows_of_a_call"]), device, f"{found['rows'] / found['seconds']:,.0f}"),
            f"{found['cpu_seconds'] / found['rows'] * 1e6:.1f}",
            f"{found['gpu_bytes'] / 2**20:,.0f}" if device == "gpu" else "",
        ]
        for found in map(json.loads, _run(command, hidden).splitlines())
    ]


def _run(command: Sequence[str], environment: Mapping[str, str]) -> str:
    done = subprocess.run(
        [sys.executable, *command],
        cwd=_CHECKOUT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"} | dict(environment),
        check=True,
        stdout=subprocess.PIPE,
        text=True,
        timeout=_LIMIT_SECONDS,
    )
    return done.stdout


def call(model: str, seconds: float) -> None:
    """Print what calls of each size took in this process, one line each."""
    adapter = load_kind("saved_model")({"gpu_memory_growth": True}, ServablesInMemory())
    version = ServableData(ServableId("network", 1), StoragePath(model))
    loader = adapter.adapt_one_version(version).payload
    loader.load_with_id(version.id)
    rng = np.random.default_rng(0)
    for rows in BATCH_ROWS:
        batch = {"x": rng.standard_normal((rows, FEATURES)).astype(np.float32)}
        print(json.dumps({"rows_of_a_call": rows, **_timed(loader.servable, batch, seconds)}))
    loader.unload()


def _timed(servable: Any, batch: Mapping[str, Any], seconds: float) -> dict[str, float]:
    for _ in range(_WARM_UP_CALLS):
        servable.predict(batch)
    rows, started, cpu_started = 0, time.monotonic(), time.process_time()
    while time.monotonic() - started < seconds:
        servable.predict(batch)
        rows += len(batch["x"])
    return {
        "rows": rows,
        "seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time() - cpu_started,
        "gpu_bytes": _gpu_bytes(),
    }


def _gpu_bytes() -> int:
    """Return the most that TensorFlow had of the GPU's memory."""
    import tensorflow as tf

    if not tf.config.list_physical_devices("GPU"):
        return 0
    return int(tf.config.experimental.get_memory_info("GPU:0")["peak"])


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure and print the table, or say that there is no GPU."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--width", type=int, default=1024, help="of the model's layers")
    parser.add_argument("--seconds", type=float, default=3.0, help="of each size of call")
    parser.add_argument("--call", metavar="MODEL", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.call:
        call(options.call, options.seconds)
        return 0
    if not finds_gpu():
        print(NO_GPU)
        return 0
    with tempfile.TemporaryDirectory(prefix="topicserve-bench-") as directory:
        network = Network(layers=(FEATURES, *[options.width] * 20, CLASSES))
        export_networks(Path(directory), {1: network})
        found = [measure(Path(directory) / "1", one, options.seconds) for one in ("cpu", "gpu")]
    print("\n".join(markdown(COLUMNS, [row for rows in zip(*found, strict=True) for row in rows])))
    return 0


if __name__ == "__main__":
    sys.exit(main())
