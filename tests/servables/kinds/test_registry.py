import sys
from pathlib import Path

import pytest

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.registry import known_kinds, load_kind

SHIPPED = [
    *("hashmap", "onnx", "open_inference", "pipeline"),
    *("saved_model", "tf_serving", "transform", "vocabulary"),
]


def install(folder: Path, entry_points: str) -> None:
    """Make a distribution with these entry points, as an installer would leave it."""
    metadata = folder / "somekind-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: somekind\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text(f"[topicserve.servables]\n{entry_points}\n")
    (folder / "somekind.py").write_text(
        "def make_adapter(options, context):\n    return 'an adapter'\n"
    )


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder in which Python finds what is installed there."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "somekind", raising=False)
    return tmp_path


def test_shipped_kinds_are_known() -> None:
    """All of them."""
    assert set(SHIPPED) <= set(known_kinds())


def test_a_shipped_kind_is_loaded() -> None:
    """It is what its package exposes."""
    from topicserve.servables.kinds.hashmap import make_adapter

    assert load_kind("hashmap") is make_adapter


def test_a_kind_from_outside_is_found_by_its_entry_point(folder: Path) -> None:
    """With no change here."""
    install(folder, "somekind = somekind:make_adapter")

    assert "somekind" in known_kinds()
    factory = load_kind("somekind")
    assert factory({}, None) == "an adapter"  # type: ignore[arg-type, comparison-overlap]


def test_an_unknown_kind_is_an_error_that_names_those_known() -> None:
    """Before anything is loaded."""
    with pytest.raises(InvalidArgumentError, match=r"unknown kind 'savedmodel'.*saved_model"):
        load_kind("savedmodel")


@pytest.mark.parametrize("target", ["nowhere:make_adapter", "somekind:missing"])
def test_a_kind_that_does_not_import_is_an_error_that_says_why(folder: Path, target: str) -> None:
    """Whatever goes wrong in its module."""
    install(folder, f"broken = {target}")

    with pytest.raises(InvalidArgumentError, match=rf"kind 'broken' \({target}\) cannot be"):
        load_kind("broken")
