"""A model alone: `MODEL ROWS SECONDS [SESSIONS]`, a loop over one batch, and what that took.

With more than one session, each with the model's weights of its own, they are called in turn. The
sessions have TensorFlow's own threads, as a servable without options has.
"""

import json
import sys
import time
from itertools import cycle

import numpy as np

from benchmarks.hand_loops.job import load_saved_model

_WARM_UP_CALLS = 3


def main(model: str, rows: int, seconds: float, sessions: int = 1) -> None:
    """Call the sessions in turn for so long, and print what that took as JSON."""
    loaded = [load_saved_model(model, threads=0) for _ in range(sessions)]
    (features,) = {features for _, features in loaded}
    batch = np.random.default_rng(0).standard_normal((rows, features)).astype(np.float32)
    for predict, _ in loaded * _WARM_UP_CALLS:
        predict(batch)
    calls, started, cpu_started = 0, time.monotonic(), time.process_time()
    for predict, _ in cycle(loaded):
        if time.monotonic() - started >= seconds:
            break
        predict(batch)
        calls += 1
    took = {
        "rows": calls * rows,
        "seconds": time.monotonic() - started,
        "cpu_seconds": time.process_time() - cpu_started,
    }
    print(json.dumps(took), flush=True)


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), *map(int, sys.argv[4:5]))
