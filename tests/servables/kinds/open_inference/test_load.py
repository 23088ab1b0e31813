"""A version is served once its model is ready, and says what keeps it from that."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.support.open_inference.server import InferenceServer, echoing, serving
from tests.support.servables.kind_context import ServablesInMemory
from tests.support.servables.remote_kinds import CLOSED_PORT, LATEST, remote_loaders
from topicserve.servables.core.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
    UnavailableError,
    UnimplementedError,
)
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.kinds.open_inference import make_adapter

Load = Callable[..., Any]
X = {"x": np.array([[2, 4]], np.float32)}
DECLARED = {
    "inputs": [{"name": "x", "datatype": "FP32", "shape": [-1, 2]}],
    "outputs": [{"name": "y", "datatype": "FP32", "shape": [-1, 2]}],
}


def test_load_waits_for_the_server(load: Load) -> None:
    """A version whose server is away is not available; the core tries its load again."""
    with pytest.raises(UnavailableError, match=f"the inference server at {CLOSED_PORT}"):
        load(CLOSED_PORT, max_attempts=1)


@pytest.mark.parametrize(
    ("is_server_ready", "version", "says"),
    [
        (False, {}, "the server is not ready"),
        (True, {}, "model 'half_plus_two' is not ready"),
        (True, {"version": 3}, "model 'half_plus_two' version '3' is not ready"),
    ],
)
def test_load_waits_for_the_model(
    server: InferenceServer, target: str, load: Load, is_server_ready: bool, version: Any, says: str
) -> None:
    """A model that is not ready is not served, and the error says whether the server is."""
    server.is_server_ready, server.is_model_ready = is_server_ready, False

    with pytest.raises(UnavailableError, match=f"^{says}$"):
        load(target, LATEST | version)


def test_a_ready_model_of_a_server_that_is_not_is_served(
    server: InferenceServer, target: str, load: Load
) -> None:
    """Servers call themselves not ready for another model's sake."""
    server.is_server_ready = False

    assert load(target).predict(X)["y"].tolist() == [[3, 4]]


def test_a_server_of_another_protocol_is_named(
    server: InferenceServer, target: str, load: Load
) -> None:
    """It has no such method."""
    server.unimplemented = {"ModelReady"}

    with pytest.raises(UnavailableError, match="UNIMPLEMENTED"):
        load(target)


@pytest.mark.parametrize("missing", ["inputs", "outputs"])
def test_a_server_without_metadata_is_helped_by_the_version_file(
    server: InferenceServer, target: str, load: Load, missing: str
) -> None:
    """MLServer and KServe know what a model takes only where it was declared to them."""
    setattr(server, missing, [])

    with pytest.raises(FailedPreconditionError, match=f"does not say what {missing} model 'half_"):
        load(target)
    assert load(target, LATEST | {missing: DECLARED[missing]}).predict(X) is not None


def test_a_declared_model_is_not_asked_for(
    server: InferenceServer, target: str, load: Load
) -> None:
    """Where the file has both, the server's metadata is not needed."""
    server.unimplemented = {"ModelMetadata"}

    remote = load(target, LATEST | DECLARED)

    assert remote.signatures["serving_default"].inputs["x"].shape == (2,)


def test_a_datatype_that_is_not_known_is_named(load: Load) -> None:
    """With the input that has it."""
    server = InferenceServer([("x", "FP8", [-1])], [("y", "FP32", [-1])])
    with (
        serving(server) as target,
        pytest.raises(UnimplementedError, match="the input 'x': datatype 'FP8' is not one of BOOL"),
    ):
        load(target)


@pytest.mark.parametrize("what", ["inputs", "outputs"])
def test_a_tensor_that_is_declared_twice_is_named(
    server: InferenceServer, target: str, load: Load, what: str
) -> None:
    """By the server or by the version's file: which of the two counts cannot be told."""
    tensors = DECLARED[what] * 2
    with pytest.raises(FailedPreconditionError, match=f"the model's {what} have '[xy]' twice"):
        load(target, LATEST | DECLARED | {what: tensors})
    setattr(server, what, getattr(server, what) * 2)
    with pytest.raises(FailedPreconditionError, match=f"the model's {what} have '[xy]' twice"):
        load(target)


@pytest.mark.parametrize("datatype", ["FP16", "BF16"])
def test_an_input_that_has_no_typed_contents_needs_raw_ones(load: Load, datatype: str) -> None:
    """The option that keeps the version from being served is named."""
    server = echoing(("x", datatype, [-1]))
    with serving(server) as target:
        load(target)
        with pytest.raises(UnimplementedError, match=f"'x' is {datatype}, .* raw_contents = false"):
            load(target, raw_contents=False)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ({}, "`model_name`"),
        (LATEST | {"version": -1}, "version"),
        (LATEST | {"versoin": 1}, "`versoin`"),
        (LATEST | {"inputs": [{"name": "x", "datatype": "FP8", "shape": []}]}, "FP8"),
        (LATEST | {"inputs": [{"name": "x", "datatype": "FP32", "shape": [-2]}]}, "shape"),
    ],
)
def test_version_file_at_fault_is_named(load: Load, content: Any, problem: str) -> None:
    """Before any server is asked."""
    with pytest.raises(InvalidArgumentError, match=r"open_inference\.json: .*" + problem):
        load(CLOSED_PORT, content)


def test_missing_version_file_is_named(load: Load) -> None:
    """By its path."""
    with pytest.raises(NotFoundError, match=r"other\.json: there is no such file"):
        load(CLOSED_PORT, file="other.json")


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ({}, "missing required field `target`"),
        ({"target": CLOSED_PORT, "max_batch_size": 0}, "`max_batch_size`"),
        ({"target": CLOSED_PORT, "metadata_interval_seconds": 0}, "`metadata_interval_seconds`"),
        ({"target": CLOSED_PORT, "timeout_seconds": 0}, "`timeout_seconds` must be above 0"),
        ({"target": CLOSED_PORT, "deadline": 1}, "there is no `deadline`; known are: target"),
    ],
)
def test_bad_option_is_named(options: dict[str, object], problem: str) -> None:
    """When the worker starts."""
    with pytest.raises(InvalidArgumentError, match=problem):
        make_adapter(options, ServablesInMemory())


def test_versions_share_one_connection(tmp_path: Path, target: str) -> None:
    """The last unload closes it."""
    loaders = remote_loaders(
        "open_inference", tmp_path, LATEST, LATEST | {"version": 2}, target=target
    )
    for number, loader in enumerate(loaders, start=1):
        loader.load_with_id(ServableId("remote", number))
    one, two = loaders
    first, second = one.servable, two.servable

    assert first._service is second._service
    one.unload()
    assert second.predict(X)["y"].tolist() == [[3, 4]]
    two.unload()
    with pytest.raises(UnavailableError, match="is closed"):
        second.predict(X)
