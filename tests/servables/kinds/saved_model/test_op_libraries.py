"""Modules that register ops are imported before the first load, from the environment alone."""

import sys
from pathlib import Path
from typing import Any

import pytest

from tests.support.servables.kind_context import ServablesInMemory
from topicserve.servables.core.errors import (
    FailedPreconditionError,
    InvalidArgumentError,
    NotFoundError,
)
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.storage_path import StoragePath
from topicserve.servables.kinds.saved_model import make_adapter


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory of modules that can be imported."""
    directory = tmp_path / "site"
    directory.mkdir()
    monkeypatch.syspath_prepend(str(directory))
    for name in ("some_ops", "broken_ops"):
        monkeypatch.delitem(sys.modules, name, raising=False)
    return directory


def load(path: str, *names: str) -> Any:
    """Load a version with these op libraries."""
    adapter = make_adapter({"op_libraries": list(names)}, ServablesInMemory())
    version = ServableData(ServableId("model", 1), StoragePath(path))
    loader = adapter.adapt_one_version(version).payload
    loader.load_with_id(version.id)
    return loader


def test_a_library_is_imported_before_the_load(library: Path, half_plus_two_path: str) -> None:
    """Not when the kind is configured, but before the graph is looked at."""
    (library / "some_ops.py").write_text("REGISTERED = True\n")
    adapter = make_adapter({"op_libraries": ["some_ops"]}, ServablesInMemory())
    version = ServableData(ServableId("model", 1), StoragePath(half_plus_two_path + "/nowhere"))
    loader = adapter.adapt_one_version(version).payload
    assert "some_ops" not in sys.modules

    with pytest.raises(NotFoundError, match="there is no such directory"):
        loader.load_with_id(version.id)

    assert sys.modules["some_ops"].REGISTERED
    load(half_plus_two_path, "some_ops").unload()


def test_a_missing_library_is_told_before_anything_starts() -> None:
    """With the package to install."""
    with pytest.raises(InvalidArgumentError, match="no module 'no_such_ops'; install the package"):
        make_adapter({"op_libraries": ["no_such_ops"]}, ServablesInMemory())
    with pytest.raises(InvalidArgumentError, match="install the package tensorflow-io, in the rel"):
        make_adapter({"op_libraries": ["tensorflow_io"]}, ServablesInMemory())


def test_a_broken_library_fails_the_load(library: Path, half_plus_two_path: str) -> None:
    """As one made for another TensorFlow does; the error names it and the cause."""
    (library / "broken_ops.py").write_text("raise OSError('undefined symbol')\n")

    with pytest.raises(FailedPreconditionError, match=r"'broken_ops' .* OSError: undefined symbol"):
        load(half_plus_two_path, "broken_ops")


def test_a_models_directory_is_never_imported_from(library: Path) -> None:
    """Also where it is on Python's path."""
    (library / "some_ops.py").write_text("raise AssertionError\n")

    for version in (library, library / "1"):
        with pytest.raises(FailedPreconditionError, match="'some_ops' lies under the base path"):
            load(str(version), "some_ops")
    assert "some_ops" not in sys.modules
