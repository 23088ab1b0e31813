"""What a version took it gives back when it is unloaded."""

from pathlib import Path

import numpy as np
import pytest

from tests.support.servables.onnx_files import model, node, save, value
from tests.support.servables.reloading import reload

MEGABYTE = 1024 * 1024
SIDE = 2500  # 25 MB of weights


@pytest.mark.slow
def test_unload_gives_weights_back(tmp_path: Path) -> None:
    """25 MB of weights leave no trace: at once, and after many reloads."""
    weights = np.random.default_rng(0).standard_normal((SIDE, SIDE)).astype(np.float32)
    made = model(
        [node("MatMul", ["x", "weights"], ["y"])],
        [value("x", ["batch", SIDE])],
        [value("y", ["batch", SIDE])],
        {"weights": weights},
    )

    seen = reload("onnx", save(made, tmp_path / "1"), 12)

    assert all(loaded - unloaded > 20 * MEGABYTE for loaded, unloaded in seen)
    assert seen[-1][1] < seen[3][1] + 10 * MEGABYTE
    # Two copies of the weights at most: the estimate is twice the file.
    assert seen[0][0] - seen[0][1] < 2.2 * weights.nbytes
