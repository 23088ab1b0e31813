"""A model alone: its session in a loop over one batch, `MODEL ROWS SECONDS`, and what that took.

The session has TensorFlow's own threads, as a servable without options has.
"""

import json
import sys
import time

import numpy as np

from benchmarks.hand_loops.job import load_saved_model

_WARM_UP_CALLS = 3


def main(model: str, rows: int, seconds: float) -> None:
    predict, features = load_saved_model(model, threads=0)
    batch = np.random.default_rng(0).standard_normal((rows, features)).astype(np.float32)
    for _ in range(_WARM_UP_CALLS):
        predict(batch)
    calls, started, cpu_started = 0, time.monotonic(), time.process_time()
    while time.monotonic() - started < seconds:
        predict(batch)
        calls += 1
    took = {
        "rows": calls * rows,
        "seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time() - cpu_started,
    }
    print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]))
