"""A kind of servable of one's own: it names the centroid that is nearest to each row."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve import servables as ts

FLOAT32, STRING = np.dtype(np.float32), np.dtype(object)


class Options(ts.KindOptions, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What may stand in the servable's table `options`."""

    unknown_beyond: float = float("inf")


class Centroids:
    """One loaded version. Any number of threads call `predict` at once."""

    def __init__(self, points: NDArray[Any], names: list[str], options: Options) -> None:
        self._points = points.astype(np.float32)
        self._names = np.array([name.encode() for name in [*names, "unknown"]], object)
        self._unknown_beyond = options.unknown_beyond
        inputs = {"x": ts.TensorSpec(FLOAT32, points.shape[1:])}
        outputs = {"name": ts.TensorSpec(STRING, ()), "distance": ts.TensorSpec(FLOAT32, ())}
        self.signatures = {"serving_default": ts.Signature(inputs, outputs)}

    def predict(self, inputs: ts.Columns, signature_name: str = "serving_default") -> ts.Columns:
        """Return as many rows as came in."""
        assert signature_name in self.signatures  # the caller has looked
        rows: NDArray[Any] = inputs["x"]
        distances = np.linalg.norm(rows[:, None] - self._points, axis=-1)
        nearest, distance = distances.argmin(axis=1), distances.min(axis=1)
        nearest[distance > self._unknown_beyond] = -1
        return {"name": self._names[nearest], "distance": distance}


def load(path: str, options: Options) -> Centroids:
    """Read a version's directory. Whatever this raises is why the version is not served."""
    file = Path(path, "centroids.npz")
    try:
        content = np.load(file, allow_pickle=False)  # data, never code
        return Centroids(content["points"], content["names"].tolist(), options)
    except (OSError, ValueError, KeyError) as error:
        raise ts.InvalidArgumentError(f"{file}: {error}") from error


def make_adapter(
    options: Mapping[str, object], _: ts.KindContext
) -> ts.SimpleLoaderSourceAdapter[Any]:
    """Return what turns the paths of versions into loaders; the entry point names this."""
    settings = ts.read_options(Options, options, "centroids")
    return ts.SimpleLoaderSourceAdapter(lambda path: load(path, settings))
