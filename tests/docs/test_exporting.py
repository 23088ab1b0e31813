"""The snippets of docs/exporting.md write versions that serve."""

import re
import tomllib
from pathlib import Path

import numpy as np

from tests.support.servables.core import Core, a_config
from tests.support.servables.lifecycle import LIMIT_SECONDS
from topicserve.servables.core.servable_request import ServableRequest
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


def test_a_classifier_is_trained_exported_and_served_as_onnx(tmp_path: Path) -> None:
    """By the page's snippet and the entry of a configuration below it."""
    snippet, entry = re.findall(r"^```\w+ onnx\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    exec(snippet, {"base_path": str(tmp_path)})  # the page's own code
    (served,) = tomllib.loads(entry)["servables"]
    core = Core([a_config(served["name"], tmp_path, kind=served["kind"])])

    core.start()
    assert core.core.wait_until_available(LIMIT_SECONDS)
    with core.core.get_servable_handle(ServableRequest.latest("iris")) as handle:
        outputs = handle.servable.predict({"X": np.array([[5.1, 3.5, 1.4, 0.2]], np.float32)})
    core.close()

    assert outputs["label"].tolist() == [0]
    assert outputs["probabilities"].shape == (1, 3)
