"""Loads half_plus_two with 1 and with 9 threads; prints how many each adds to the process.

Before that, it loads it without `session_threads`, calls it and prints whether a thread of
TensorFlow's had anything to do.

A process of its own, because TensorFlow decides with its first session: `python -m ... PATH`.
"""

import os
import sys
import time
from pathlib import Path

import numpy as np

from tests.support.servables.kind_context import ServablesInMemory
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.saved_model import make_adapter

LIMIT_SECONDS = 20.0
CALLS = 200


def threads() -> set[str]:
    """Return the identifiers of all threads of this process, TensorFlow's too."""
    return set(os.listdir("/proc/self/task"))


def added_threads(before: set[str], expected: int) -> int:
    """Return how many threads came and stayed.

    A load also starts some that end before it does, and the system lists one in a thousand for a
    moment after its join: so a wrong number counts once it stays wrong.
    """
    deadline = time.monotonic() + LIMIT_SECONDS
    while (count := len(threads() - before)) != expected and time.monotonic() < deadline:
        os.sched_yield()
    return count


def wake_ups() -> int:
    """Return how often threads of TensorFlow's pool between operations have gone to sleep."""
    found = 0
    for status in Path("/proc/self/task").glob("*/status"):
        lines = dict(line.split(":", 1) for line in status.read_text().splitlines())
        if lines["Name"].strip() == "tf_Compute":
            found += int(lines["voluntary_ctxt_switches"])
    return found


def main(path: str) -> None:
    """Make all adapters first, as a worker does."""
    version = ServableData(ServableId("model", 1), StoragePath(path))
    shared = make_adapter({}, ServablesInMemory())
    own = [(n, make_adapter({"session_threads": n}, ServablesInMemory())) for n in (1, 9)]
    loader = shared.adapt_one_version(version).payload
    loader.load_with_id(version.id)
    before_calls = wake_ups()
    for _ in range(CALLS):
        loader.servable.predict({"x": np.array([[2]], np.float32)})
    print("used" if wake_ups() - before_calls >= CALLS else "unused")
    for session_threads, adapter in own:
        before = threads()
        loader = adapter.adapt_one_version(version).payload
        loader.load_with_id(version.id)
        # A pool between operations and one inside of them.
        print(added_threads(before, 2 * session_threads))
        outputs = loader.servable.predict({"x": np.array([[2], [4]], np.float32)})
        assert outputs["y"].tolist() == [[3], [4]]


if __name__ == "__main__":
    main(sys.argv[1])
