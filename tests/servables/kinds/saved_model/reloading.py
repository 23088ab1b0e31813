"""Loads and unloads a SavedModel over and over; prints a line of memory a time.

A process of its own, so that nothing else's memory is measured: `python -m ... PATH TIMES`.
"""

import sys

import numpy as np
import psutil

from topicserve.servables.core.resources.memory import release_freed_memory
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.saved_model import SavedModel


def main(path: str, times: int) -> None:
    """Print resident bytes while each version is loaded, and after it was unloaded."""
    process = psutil.Process()
    for _ in range(times):
        model = SavedModel.load(path, SavedModelOptions())
        (spec,) = model.signatures["serving_default"].inputs.values()
        model.predict({"x": np.ones((1, *(spec.shape or ())), np.float32)})  # type: ignore[arg-type]
        loaded = process.memory_info().rss
        model.close()
        del model
        release_freed_memory()
        print(loaded, process.memory_info().rss, flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
