"""The adapter checks its options, and imports nothing before a version is loaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.support.servables.kind_context import ServablesInMemory
from tests.support.servables.models import Network
from tests.support.servables.onnx_files import network_model, save, some_rows
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.resources.resource_allocation import main_ram
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.onnx import estimate_resources, make_adapter

CHECKOUT = Path(__file__).parents[4]
# What a worker imports, a model loaded and called by its core, and what is imported then.
SERVE = """
import sys
import numpy as np
import topicserve.cli.worker, topicserve.worker.service
from topicserve.servables.server.server_core import ServerCore
from topicserve.servables.server.servable_config import ServableConfig
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.sources.completeness import CompletenessOptions
config = ServableConfig("network", sys.argv[1], "onnx")
core = ServerCore([config], completeness=CompletenessOptions(stable_scans=1))
before = "onnxruntime" in sys.modules
core.start()
assert core.wait_until_available(60)
with core.get_servable_handle(ServableRequest.latest("network")) as handle:
    answer = handle.servable.predict({"x": np.zeros((2, 64), np.float32)})
core.close(60)
tensorflow = [name for name in sys.modules if name.split(".")[0] in ("tensorflow", "keras", "onnx")]
print(before, answer["probabilities"].shape, tensorflow, "onnxruntime" in sys.modules)
"""


def test_loader_loads_and_unloads(tmp_path: Path) -> None:
    """From a path to a servable and back to nothing."""
    path = save(network_model(Network()), tmp_path / "1")
    version = ServableData(ServableId("network", 1), StoragePath(path))
    loader = make_adapter({}, ServablesInMemory()).adapt_one_version(version).payload

    loader.load_with_id(version.id)

    outputs = loader.servable.predict({"x": some_rows(2, 64)})
    assert outputs["probabilities"].shape == (2, 10)
    loader.unload()
    assert loader.servable is None


def test_estimate_is_twice_the_files(tmp_path: Path) -> None:
    """External data included."""
    (tmp_path / "model.onnx").write_bytes(b"x" * 40)
    (tmp_path / "model.onnx.data").write_bytes(b"x" * 60)

    assert estimate_resources(StoragePath(str(tmp_path))) == main_ram(200)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"threads": 1}, "there is no `threads`; known are: file, session_threads"),
        ({"session_threads": 0}, "`session_threads`"),
        ({"provider": "tpu"}, "`provider`"),
        ({"provider_options": {"device_id": 1}}, "`provider_options` are those of provider"),
        ({"op_libraries": ["ops/relative.so"]}, "`op_libraries"),
        ({"file": ""}, "`file`"),
    ],
)
def test_bad_option_is_named(options: dict[str, object], problem: str) -> None:
    """An option that is wrong says so before anything is loaded."""
    with pytest.raises(InvalidArgumentError, match=problem):
        make_adapter(options, ServablesInMemory())


def test_a_worker_of_onnx_models_never_imports_tensorflow(tmp_path: Path) -> None:
    """Nor the package onnx; ONNX Runtime comes with the first load."""
    save(network_model(Network()), tmp_path / "1")

    done = subprocess.run(
        [sys.executable, "-c", SERVE, str(tmp_path)],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
        timeout=150,
    )

    assert done.stdout.strip() == "False (2, 10) [] True"
