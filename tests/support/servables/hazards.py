"""A kind of servable that obeys its input: it echoes, ends the process, or never returns.

It is installed for the workers that a test starts, as a kind of a user's own would be.
"""

from pathlib import Path
from typing import Any

HAZARD = "hazard"

_MODULE = """
import os
import threading

import numpy as np

from topicserve.servables.kinds.servable import Signature, TensorSpec
from topicserve.servables.core.simple_loader import SimpleLoaderSourceAdapter

TEXT = TensorSpec(np.dtype(object), ())


class Hazard:
    signatures = {"serving_default": Signature({"x": TEXT}, {"y": TEXT})}

    def predict(self, inputs, signature_name="serving_default"):
        if b"abort" in inputs["x"]:
            os.abort()
        if b"hang" in inputs["x"]:
            threading.Event().wait()
        return {"y": inputs["x"]}


def make_adapter(options, context):
    return SimpleLoaderSourceAdapter(lambda path: Hazard())
"""


def install_hazard(directory: Path) -> str:
    """Write the kind's package and return the directory to have in PYTHONPATH."""
    (directory / "hazard_kind.py").write_text(_MODULE)
    metadata = directory / "hazard_kind-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: hazard-kind\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(
        f"[topicserve.servables]\n{HAZARD} = hazard_kind:make_adapter\n"
    )
    version = directory / "models" / "1"
    version.mkdir(parents=True)
    (version / "hazard.txt").write_text("a version without files is not complete")
    return str(directory)


def hazard_servable(directory: Path) -> dict[str, Any]:
    """Return its entry in a worker's configuration."""
    return {"name": HAZARD, "base_path": str(directory / "models"), "kind": HAZARD}
