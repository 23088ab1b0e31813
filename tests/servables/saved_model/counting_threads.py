"""Loads half_plus_two with 1 and with 9 threads; prints how many each adds to the process.

A process of its own, because TensorFlow decides with its first session: `python -m ... PATH`.
"""

import os
import sys

import numpy as np

from tests.support.kind_context import ServablesInMemory
from topicserve.servables.saved_model import make_adapter
from topicserve.servables.servable_data import ServableData
from topicserve.servables.servable_id import ServableId
from topicserve.servables.storage_path import StoragePath


def main(path: str) -> None:
    """Make all adapters first, as a worker does."""
    version = ServableData(ServableId("model", 1), StoragePath(path))
    options: list[dict[str, object]] = [{}, {"session_threads": 1}, {"session_threads": 9}]
    adapters = [make_adapter(one, ServablesInMemory()) for one in options]
    for adapter in adapters:
        before = set(os.listdir("/proc/self/task"))
        loader = adapter.adapt_one_version(version).payload
        loader.load_with_id(version.id)
        print(len(set(os.listdir("/proc/self/task")) - before))
        outputs = loader.servable.predict({"x": np.array([[2], [4]], np.float32)})
        assert outputs["y"].tolist() == [[3], [4]]


if __name__ == "__main__":
    main(sys.argv[1])
