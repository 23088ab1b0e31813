"""What a version took it gives back when it is unloaded."""

from pathlib import Path

import pytest

from tests.servables.kinds.saved_model import exports
from tests.support.servables.reloading import reload

MEGABYTE = 1024 * 1024


@pytest.mark.slow
def test_unload_gives_variables_back(tmp_path: Path) -> None:
    """100 MB of weights leave no trace: at once, and after many reloads."""
    seen = reload("saved_model", exports.export_large(tmp_path / "large", 5000), 20)

    assert all(loaded - unloaded > 80 * MEGABYTE for loaded, unloaded in seen)
    assert seen[-1][1] < seen[9][1] * 1.1


@pytest.mark.slow
def test_unload_gives_weights_in_the_graph_back(tmp_path: Path) -> None:
    """A frozen model's 16 MB, which only the garbage collector finds, do not pile up."""
    seen = reload(
        "saved_model", exports.export_tf1(tmp_path / "frozen", exports.weights_in_graph), 12
    )

    assert seen[-1][1] - seen[4][1] < 2 * 16 * MEGABYTE
