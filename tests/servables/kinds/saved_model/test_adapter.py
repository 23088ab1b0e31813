"""The adapter checks its options, estimates, and settles what TensorFlow must know beforehand."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.servables.kind_context import ServablesInMemory
from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.resources.resource_allocation import main_ram
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.saved_model import estimate_resources, make_adapter

CHECKOUT = Path(__file__).parents[4]


def run(*command: str) -> str:
    """Return what a Python of its own prints."""
    done = subprocess.run(
        [sys.executable, *command],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
        timeout=300,
    )
    return done.stdout


def test_loader_loads_and_unloads(half_plus_two_path: str) -> None:
    """From a path to a servable and back to nothing."""
    version = ServableData(ServableId("half_plus_two", 1), StoragePath(half_plus_two_path))
    loader = make_adapter({}, ServablesInMemory()).adapt_one_version(version).payload

    loader.load_with_id(version.id)

    outputs = loader.servable.predict({"x": np.array([[2]], np.float32)})
    assert outputs["y"].tolist() == [[3]]
    loader.unload()
    assert loader.servable is None


def test_estimate_is_a_fifth_more_than_the_files(tmp_path: Path) -> None:
    """As TF Serving estimates; a path that is not there is named."""
    (tmp_path / "variables").mkdir()
    (tmp_path / "saved_model.pb").write_bytes(b"x" * 40)
    (tmp_path / "variables" / "data").write_bytes(b"x" * 60)

    assert estimate_resources(StoragePath(str(tmp_path))) == main_ram(120)
    with pytest.raises(NotFoundError, match="nowhere"):
        estimate_resources(StoragePath(str(tmp_path / "nowhere")))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({"threads": 1}, "there is no `threads`; known are: tags, session_threads"),
        ({"session_threads": 0}, "`session_threads`"),
        ({"warm_up": "yes"}, "`warm_up`"),
        ({"tags": "serve"}, "`tags`"),
        ({"op_libraries": ["../model"]}, "`op_libraries"),
    ],
)
def test_bad_option_is_named(options: dict[str, object], problem: str) -> None:
    """An option that is wrong says so before anything is loaded."""
    with pytest.raises(InvalidArgumentError, match=problem):
        make_adapter(options, ServablesInMemory())


@pytest.mark.slow
@pytest.mark.skipif(not os.path.isdir("/proc/self/task"), reason="threads are counted in /proc")
def test_session_threads_are_the_servables_own(half_plus_two_path: str) -> None:
    """A servable gets as many threads as its options say, whatever was loaded before it.

    One without the option is small here: its calls wake no other thread.
    """
    printed = run("-m", "tests.servables.kinds.saved_model.counting_threads", half_plus_two_path)

    assert printed.split() == ["unused", "2", "18"]


def test_asking_for_the_kind_does_not_import_tensorflow() -> None:
    """A worker reads its configuration in no time; the first load takes its seconds."""
    code = (
        "import sys; from topicserve.servables.kinds.saved_model import make_adapter; "
        "make_adapter({'session_threads': 2}, None); print('tensorflow' in sys.modules)"
    )

    assert run("-c", code).strip() == "False"


@pytest.mark.parametrize(
    ("options", "environment", "set_to"),
    [
        ({}, {}, None),
        ({"gpu_memory_growth": True}, {}, "true"),
        ({"gpu_memory_growth": True}, {"TF_FORCE_GPU_ALLOW_GROWTH": "false"}, "false"),
    ],
)
def test_a_gpus_memory_grows_where_an_option_asks_for_it(
    monkeypatch: pytest.MonkeyPatch, options: Any, environment: dict[str, str], set_to: str | None
) -> None:
    """By the variable that TensorFlow reads before it makes its pool; the environment wins."""
    monkeypatch.setattr(os, "environ", environment)

    make_adapter(options, ServablesInMemory())

    assert environment.get("TF_FORCE_GPU_ALLOW_GROWTH") == set_to
