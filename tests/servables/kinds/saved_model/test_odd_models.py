"""Any SavedModel that TF Serving opens is opened, and gives what its graph gives."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from tests.servables.kinds.saved_model import exports_odd
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.saved_model import SavedModel

TOKENS = {"token": np.array([b"b", b"k"], object)}
X = {"x": np.array([1, 3], np.float32)}
MIXED = {
    "text": np.array([[b"a b"], [b"what"]], object),
    "number": np.array([[1, 3], [5, -1]], np.float32),
}


@pytest.mark.parametrize(
    ("export", "tags", "inputs", "outputs"),
    [
        (exports_odd.assets, ["serve"], TOKENS, {"id": [1, 2]}),
        (exports_odd.old_assets, ["serve"], TOKENS, {"id": [1, 2]}),
        (exports_odd.several_graphs, ["serve"], X, {"y": [2, 6]}),
        (exports_odd.several_graphs, ["serve", "gpu"], X, {"y": [4, 12]}),
        (exports_odd.partitioned, ["serve"], {"ids": np.array([0, 9])}, {"y": [[1, 1]] * 2}),
        (exports_odd.text, ["serve"], {"x": np.array([[2]], np.float32)}, {"y": [[3]]}),
        (
            exports_odd.tables,
            ["serve"],
            TOKENS,
            {"static": [1, -1], "mutable": [7, 5], "calls": [1, 1]},
        ),
        (
            exports_odd.preprocessing,
            ["serve"],
            MIXED,
            {"tokens": [[2, 3, 0], [1, 0, 0]], "normalized": [[0, 1], [2, -1]]},
        ),
    ],
)
def test_an_odd_model_is_served(
    tmp_path: Path,
    export: Callable[[Path], None],
    tags: list[str],
    inputs: Any,
    outputs: dict[str, list[Any]],
) -> None:
    """Also where the files that it was made from are gone."""
    export(tmp_path / "model")

    model = SavedModel.load(str(tmp_path / "model"), SavedModelOptions(tags=tuple(tags)))

    found = model.predict(inputs)
    assert {name: column.tolist() for name, column in found.items()} == outputs
    assert "ragged" not in model.signatures
    model.close()
