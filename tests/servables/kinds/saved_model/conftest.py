"""SavedModels that the tests of a module share, exported once a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.servables.kinds.saved_model import exports
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.saved_model import SavedModel


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return where this module's SavedModels lie."""
    return tmp_path_factory.mktemp("saved_models")


@pytest.fixture(scope="module")
def half_plus_two_path(directory: Path) -> str:
    """Return a TF 1 export."""
    return exports.export_tf1(directory / "half_plus_two", exports.half_plus_two)


@pytest.fixture(scope="module")
def half_plus_two(half_plus_two_path: str) -> Iterator[SavedModel]:
    """Yield the TF 1 export, loaded."""
    model = SavedModel.load(half_plus_two_path, SavedModelOptions())
    yield model
    model.close()


@pytest.fixture(scope="module")
def odd(directory: Path) -> Iterator[SavedModel]:
    """Yield the signatures that are seldom met, loaded."""
    path = exports.export_tf1(directory / "odd", exports.odd_signatures)
    model = SavedModel.load(path, SavedModelOptions())
    yield model
    model.close()


@pytest.fixture(scope="module")
def echoes(directory: Path) -> Iterator[SavedModel]:
    """Yield a TF 2 export with a signature a dtype, loaded."""
    model = SavedModel.load(exports.export_echoes(directory / "echoes"), SavedModelOptions())
    yield model
    model.close()
