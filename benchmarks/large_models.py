"""SavedModels for records and results of a mebibyte.

TensorFlow is imported only in the process that exports.
"""

import os
import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

FLOATS = 1024 * 1024 // 4
MODELS = ("mean", "same", "fill")
_LIMIT_SECONDS = 120.0


def export(directory: Path) -> None:
    """Write each of MODELS as version 1 under a base path of its name, in another process.

    `mean` answers a row of FLOATS with one, `same` with itself, and `fill` one float with FLOATS.
    """
    subprocess.run(
        [sys.executable, "-m", "benchmarks.large_models", str(directory)],
        check=True,
        capture_output=True,
        timeout=_LIMIT_SECONDS,
        cwd=Path(__file__).parents[1],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def _answer(function: Callable[[Any], Any], x: Any) -> dict[str, Any]:
    return {"y": function(x)}


def _main(directory: Path) -> None:
    import tensorflow as tf

    functions = {
        "mean": (FLOATS, lambda x: tf.reduce_mean(x, axis=1)),
        "same": (FLOATS, lambda x: x + 0.0),
        "fill": (1, lambda x: tf.tile(x, [1, FLOATS])),
    }
    for name, (floats, function) in functions.items():
        module = tf.Module()
        module.call = tf.function(
            partial(_answer, function),
            input_signature=[tf.TensorSpec([None, floats], tf.float32, "x")],
        )
        path = str(directory / name / "1")
        tf.saved_model.save(module, path, signatures={"serving_default": module.call})


if __name__ == "__main__":
    _main(Path(sys.argv[1]))
