"""Writes a network as a real SavedModel, in a process of its own.

TensorFlow is imported there alone (`python -m topicserve.demo.export`), so that the process that
publishes and reads never holds its memory.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np

from topicserve.demo.digits import Network

EXPORT_LIMIT_SECONDS = 120.0


def export_network(network: Network, base_path: Path, version: int) -> Path:
    """Write `base_path/version` and return it; it appears there whole, by a rename.

    The signature `serving_default` takes `pixels` float32 [rows, 64] and gives `digit` int64
    [rows] and `probabilities` float32 [rows, 10].
    """
    base_path.mkdir(parents=True, exist_ok=True)
    unfinished = base_path.parent / f"{base_path.name}-{version}.unfinished"
    weights = unfinished.with_suffix(".npz")
    np.savez(weights, *network.parameters())
    export = subprocess.run(
        [sys.executable, "-m", "topicserve.demo.export", str(weights), str(unfinished)],
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=EXPORT_LIMIT_SECONDS,
        capture_output=True,
        text=True,
    )
    weights.unlink()
    if export.returncode != 0:
        raise RuntimeError(f"exporting version {version} failed:\n{export.stderr[-2000:]}")
    return unfinished.rename(base_path / str(version))


def _export(weights: Path, path: Path) -> None:
    import tensorflow as tf

    with np.load(weights) as file:
        constants = [file[name] for name in file.files]
    variables = [tf.Variable(constant) for constant in constants]
    hidden_kernel, hidden_bias, kernel, bias = variables

    @tf.function(input_signature=[tf.TensorSpec([None, len(constants[0])], tf.float32, "pixels")])  # type: ignore[untyped-decorator]
    def predict(pixels: tf.Tensor) -> dict[str, tf.Tensor]:
        hidden = tf.nn.relu(tf.linalg.matmul(pixels, hidden_kernel) + hidden_bias)
        probabilities = tf.nn.softmax(tf.linalg.matmul(hidden, kernel) + bias)
        return {"digit": tf.argmax(probabilities, axis=1), "probabilities": probabilities}

    module = tf.Module()
    module.weights = variables  # what is saved is what hangs on the module
    module.predict = predict
    tf.saved_model.save(module, str(path), signatures={"serving_default": predict})


if __name__ == "__main__":
    _export(Path(sys.argv[1]), Path(sys.argv[2]))
