"""The snippets of docs/exporting.md write versions that serve."""

import re
from pathlib import Path

import numpy as np

from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.saved_model import SavedModel

PAGE = (Path(__file__).parents[2] / "docs/exporting.md").read_text()


def test_snippets_export_versions_that_serve(tmp_path: Path) -> None:
    """Run in their order, as a reader would."""
    snippets = re.findall(r"^```python export\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    names: dict[str, object] = {"base_path": str(tmp_path)}
    for snippet in snippets:
        exec(snippet, names)  # the page's own code
    features = np.zeros((2, 4), np.float32)

    plain, strings, own = (
        SavedModel.load(str(tmp_path / version), SavedModelOptions()) for version in ("1", "2", "3")
    )

    assert plain.predict({"features": features})["probabilities"].shape == (2, 3)
    colors = np.array([[b"blue"], [b"pink"]], object)
    assert strings.predict({"features": features, "color": colors})["id"].tolist() == [[3], [0]]
    assert own.predict({"features": features})["best"].shape == (2,)
    assert own.predict({"features": features}, "probabilities")["probabilities"].shape == (2, 3)
    for model in (plain, strings, own):
        model.close()
