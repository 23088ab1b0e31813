"""A version whose variables have no value is not loaded; others are never refused."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from tests.servables.kinds.saved_model import exports, exports_variables
from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.saved_model import SavedModel


def load(path: str) -> SavedModel:
    """Load a SavedModel with default options."""
    return SavedModel.load(path, SavedModelOptions())


BUILDERS = [exports_variables.local_variables, exports_variables.old_local_variables]


@pytest.fixture(scope="module", params=BUILDERS, ids=["new", "old"])
def local_variables(directory: Path, request: pytest.FixtureRequest) -> Iterator[SavedModel]:
    """Yield signatures around variables without values, loaded."""
    model = load(exports.export_tf1(directory / request.param.__name__, request.param))
    yield model
    model.close()


def test_variables_without_values_fail_the_load(directory: Path) -> None:
    """The error names the signature, the first variables and the remedy."""
    path = exports_variables.export_keras_in_module(directory / "untracked", "reading", "other")

    with pytest.raises(FailedPreconditionError) as caught:
        load(path)

    says = str(caught.value)
    assert says.startswith(f"{path}: signature 'serving_default' cannot be called: the variables '")
    assert says.count("/kernel'") + says.count("/bias'") == 3
    assert "and 1 more have no value: they were not saved with the model" in says
    assert says.endswith("Export a Keras model with model.export(path)")


def test_another_signature_without_values_is_left_out(local_variables: SavedModel) -> None:
    """The default one serves."""
    assert sorted(local_variables.signatures) == ["assigned", "branch", "lazy", "serving_default"]


@pytest.mark.parametrize("name", ["serving_default", "assigned", "lazy", "branch"])
def test_variables_that_a_call_does_not_only_read_are_its_own_affair(
    local_variables: SavedModel, name: str
) -> None:
    """Assigned before they are read, initialised by the first call, or in a branch not taken."""
    for _ in range(2):
        outputs = local_variables.predict({"x": np.ones(2, np.float32)}, name)
        assert outputs["y"].tolist() == [2, 2]


def test_the_same_holds_in_functions(directory: Path) -> None:
    """Where a TF 2 export hands its variables to functions."""
    path = exports_variables.export_keras_in_module(
        directory / "functions", "other", "branch", "assigning"
    )
    model = load(path)
    x = np.ones((1, 4), np.float32)

    assert model.predict({"x": x})["y"].tolist() == [[2] * 4]
    assert model.predict({"x": x}, "branch")["y"].tolist() == [[2] * 4]
    assert model.predict({"x": x}, "assigning")["y"].tolist() == [[9] * 4]
    model.close()
