"""A kind of servable that takes every record of `heavy_records`, and answers little or much.

It is installed for the workers that are measured, as a kind of a user's own would be.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from tests.support.stages import heavy_records
from topicserve.servables.core.simple_loader import SimpleLoaderSourceAdapter
from topicserve.servables.kinds.servable import Columns, Signature, TensorSpec

HEAVY_KIND = "heavy"
RESULT_BYTES = 10_000_000
_TEXT = np.dtype(object)
_ANY_TEXT = TensorSpec(_TEXT)
_RECORD_SIGNATURES = {
    name.lower(): signature
    for name, signature in vars(heavy_records).items()
    if isinstance(signature, Signature)
}


class HeavyServable:
    """Answers each row with 0; signature `echo` with the row, `large` with 10 MB."""

    signatures: Mapping[str, Signature] = {
        **_RECORD_SIGNATURES,
        "serving_default": heavy_records.NUMBER_ROWS,
        "echo": Signature({"x": _ANY_TEXT}, {"y": _ANY_TEXT}),
        "large": Signature({"x": TensorSpec(_TEXT, ())}, {"y": TensorSpec(_TEXT, ())}),
    }

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        (column,) = inputs.values()
        if signature_name == "echo":
            return {"y": column}
        if signature_name == "large":
            return {
                "y": np.array([b"%d" % row * RESULT_BYTES for row in range(len(column))], _TEXT)
            }
        return {"y": np.zeros(len(column), np.float32)}


def make_adapter(options: object, context: object) -> Any:  # noqa: ARG001 - as a kind is made
    """Return the kind's source adapter."""
    return SimpleLoaderSourceAdapter(lambda path: HeavyServable())  # noqa: ARG005


def name_of(signature: Signature) -> str:
    """Return what a record must call a signature of `heavy_records`."""
    return next(name for name, one in _RECORD_SIGNATURES.items() if one is signature)


def install_heavy(directory: Path) -> str:
    """Announce the kind and return the directory to have in PYTHONPATH."""
    metadata = directory / "heavy_kind-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: heavy-kind\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[topicserve.servables]\n{HEAVY_KIND} = {__name__}:make_adapter\n"
    )
    version = directory / "models" / "1"
    version.mkdir(parents=True)
    (version / "heavy.txt").write_text("a version without files is not complete")
    return str(directory)


def heavy_servable(directory: Path) -> dict[str, Any]:
    """Return its entry in a worker's configuration."""
    return {"name": HEAVY_KIND, "base_path": str(directory / "models"), "kind": HEAVY_KIND}
