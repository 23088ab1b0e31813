"""Loads and unloads a version over and over; tells how much memory it took each time.

A process of its own, so that nothing else's memory is measured: `python -m ... KIND PATH TIMES`.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import psutil

from tests.support.servables.kind_context import ServablesInMemory
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.resources.memory import release_freed_memory
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.registry import load_kind

_CHECKOUT = Path(__file__).parents[3]


def reload(kind: str, path: str, times: int) -> list[tuple[int, int]]:
    """Return (loaded, unloaded) resident bytes a time."""
    command = [sys.executable, "-m", "tests.support.servables.reloading", kind, path, str(times)]
    done = subprocess.run(
        command, cwd=_CHECKOUT, check=True, capture_output=True, text=True, timeout=150
    )
    pairs = [line.split() for line in done.stdout.splitlines()]
    return [(int(loaded), int(unloaded)) for loaded, unloaded in pairs]


def main(kind: str, path: str, times: int) -> None:
    """Print resident bytes while each version is loaded and was called, and when it is unloaded."""
    process = psutil.Process()
    adapter = load_kind(kind)({}, ServablesInMemory())
    version = ServableData(ServableId("model", 1), StoragePath(path))
    for _ in range(times):
        loader = adapter.adapt_one_version(version).payload
        loader.load_with_id(version.id)
        (spec,) = loader.servable.signatures["serving_default"].inputs.values()
        loader.servable.predict({"x": np.ones((1, *spec.shape), np.float32)})
        loaded = process.memory_info().rss
        loader.unload()
        release_freed_memory()
        print(loaded, process.memory_info().rss, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
