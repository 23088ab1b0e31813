"""What a version took it gives back when it is unloaded."""

import subprocess
import sys
from pathlib import Path

import pytest

from tests.servables.kinds.saved_model import exports

CHECKOUT = Path(__file__).parents[4]
MEGABYTE = 1024 * 1024


def reload(path: str, times: int) -> list[tuple[int, int]]:
    """Return (loaded, unloaded) resident bytes a time."""
    command = [
        sys.executable,
        "-m",
        "tests.servables.kinds.saved_model.reloading",
        path,
        str(times),
    ]
    done = subprocess.run(
        command, cwd=CHECKOUT, check=True, capture_output=True, text=True, timeout=300
    )
    pairs = [line.split() for line in done.stdout.splitlines()]
    return [(int(loaded), int(unloaded)) for loaded, unloaded in pairs]


@pytest.mark.slow
def test_unload_gives_variables_back(tmp_path: Path) -> None:
    """100 MB of weights leave no trace: at once, and after many reloads."""
    seen = reload(exports.export_large(tmp_path / "large", 5000), 20)

    assert all(loaded - unloaded > 80 * MEGABYTE for loaded, unloaded in seen)
    assert seen[-1][1] < seen[9][1] * 1.1


@pytest.mark.slow
def test_unload_gives_weights_in_the_graph_back(tmp_path: Path) -> None:
    """A frozen model's 16 MB, which only the garbage collector finds, do not pile up."""
    seen = reload(exports.export_tf1(tmp_path / "frozen", exports.weights_in_graph), 12)

    assert seen[-1][1] - seen[4][1] < 2 * 16 * MEGABYTE
