"""Small real models for tests and benchmarks: a network with weights from numpy, as a SavedModel.

TensorFlow is imported only in the process that exports, `python -m tests.support.servables.models`,
so that what is tested or measured beside it never holds its memory.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

EXPORT_LIMIT_SECONDS = 120.0
_CHECKOUT = Path(__file__).parents[3]
FEATURES = 64
CLASSES = 10


@dataclass(frozen=True, slots=True)
class Network:
    """A fully connected network: ReLU between layers, softmax at the end.

    Two networks with the same seed and layers are the same, wherever they are made.
    """

    seed: int = 0
    layers: tuple[int, ...] = (FEATURES, 256, CLASSES)

    def weights(self) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
        """Return one (kernel [inputs, outputs], bias [outputs]) a layer."""
        return _weights(self)

    def predict(self, rows: NDArray[np.floating]) -> NDArray[np.float32]:
        """Return the probabilities [rows, classes] that the exported model gives, in numpy."""
        x = rows.astype(np.float32)
        weights = self.weights()
        for kernel, bias in weights[:-1]:
            x = np.maximum(x @ kernel + bias, 0)
        kernel, bias = weights[-1]
        logits = x @ kernel + bias
        exponents = np.exp(logits - logits.max(axis=1, keepdims=True))
        return np.asarray(exponents / exponents.sum(axis=1, keepdims=True), np.float32)


@lru_cache
def _weights(network: Network) -> list[tuple[NDArray[np.float32], NDArray[np.float32]]]:
    rng = np.random.default_rng(network.seed)
    return [
        (
            (rng.standard_normal((inputs, outputs)) / np.sqrt(inputs)).astype(np.float32),
            rng.standard_normal(outputs).astype(np.float32) * np.float32(0.1),
        )
        for inputs, outputs in zip(network.layers, network.layers[1:], strict=False)
    ]


OCTETS = "octets"
"""The signature that takes a row as a string: its float32s in their bytes."""


def export_networks(
    base_path: Path, networks: Mapping[int, Network], *, with_octets: bool = False
) -> None:
    """Write each version's network as a SavedModel under the base path, in another process.

    A version appears whole: written beside the base path first, then renamed. Its signature
    `serving_default` takes `x` float32 [rows, features] and gives `probabilities` float32
    [rows, classes]. With `with_octets` it has a second one, which takes strings.
    """
    base_path.mkdir(parents=True, exist_ok=True)
    unfinished = base_path.parent / f".{base_path.name}.unfinished"
    asked = {version: asdict(network) for version, network in networks.items()}
    export = subprocess.run(
        [
            sys.executable,
            "-m",
            "tests.support.servables.models",
            str(unfinished),
            json.dumps(asked),
            OCTETS if with_octets else "",
        ],
        cwd=_CHECKOUT,
        env=os.environ | {"TF_CPP_MIN_LOG_LEVEL": "3"},
        timeout=EXPORT_LIMIT_SECONDS,
        capture_output=True,
        text=True,
    )
    if export.returncode != 0:
        raise RuntimeError(f"exporting to {base_path} failed:\n{export.stderr[-2000:]}")
    for version in networks:
        (unfinished / str(version)).rename(base_path / str(version))
    unfinished.rmdir()


def _export(path: Path, network: Network, octets: str) -> None:
    import tensorflow as tf

    weights = [(tf.Variable(kernel), tf.Variable(bias)) for kernel, bias in network.weights()]

    class Exported(tf.Module):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.weights = weights

        @tf.function(input_signature=[tf.TensorSpec([None, network.layers[0]], tf.float32, "x")])  # type: ignore[untyped-decorator]
        def __call__(self, x: object) -> dict[str, object]:
            for kernel, bias in self.weights[:-1]:
                x = tf.nn.relu(tf.linalg.matmul(x, kernel) + bias)
            kernel, bias = self.weights[-1]
            return {"probabilities": tf.nn.softmax(tf.linalg.matmul(x, kernel) + bias)}

        @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "x")])  # type: ignore[untyped-decorator]
        def from_octets(self, x: object) -> dict[str, object]:
            rows = tf.reshape(tf.io.decode_raw(x, tf.float32), [-1, network.layers[0]])
            found: dict[str, object] = self(rows)
            return found

    module = Exported()
    signatures = {"serving_default": module.__call__}
    if octets:
        signatures[octets] = module.from_octets
    tf.saved_model.save(module, str(path), signatures=signatures)


def _main(path: str, asked: str, octets: str) -> None:
    for version, fields in json.loads(asked).items():
        network = Network(fields["seed"], tuple(fields["layers"]))
        _export(Path(path) / version, network, octets)


if __name__ == "__main__":
    _main(*sys.argv[1:])
