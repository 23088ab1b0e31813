"""docs/kinds.md says what the kinds take."""

import re
import tomllib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from tests.support.open_inference.server import InferenceServer, serving
from tests.support.servables.core import Core, a_config
from tests.support.servables.kind_context import ServablesInMemory
from tests.support.servables.lifecycle import LIMIT_SECONDS
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.kinds.hashmap.hashmap import HashmapOptions
from topicserve.servables.kinds.onnx.options import OnnxOptions
from topicserve.servables.kinds.open_inference.options import OpenInferenceOptions
from topicserve.servables.kinds.options import KindOptions
from topicserve.servables.kinds.pipeline import PipelineOptions
from topicserve.servables.kinds.pipeline.pipeline import load_pipeline
from topicserve.servables.kinds.registry import known_kinds
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.tf_serving.options import TfServingOptions
from topicserve.servables.kinds.tf_serving.remote_model import RemoteModelJson
from topicserve.servables.kinds.transform import TransformOptions
from topicserve.servables.kinds.transform.image_step import DecodeImage
from topicserve.servables.kinds.transform.transform import AnyStep, load_transform
from topicserve.servables.kinds.vocabulary.vocabulary import VocabularyOptions
from topicserve.servables.server.refused_formats import REMEDIES

PAGE = (Path(__file__).parents[2] / "docs/kinds.md").read_text()
OPTIONS: dict[str, type[KindOptions]] = {
    "saved_model": SavedModelOptions,
    "onnx": OnnxOptions,
    "hashmap": HashmapOptions,
    "vocabulary": VocabularyOptions,
    "transform": TransformOptions,
    "pipeline": PipelineOptions,
    "tf_serving": TfServingOptions,
    "open_inference": OpenInferenceOptions,
}


def section(kind: str) -> str:
    """Return what the page says of a kind."""
    return PAGE.partition(f"\n## {kind}\n")[2].partition("\n## ")[0]


def example(kind: str) -> str:
    """Return the JSON that the page shows for a kind."""
    return PAGE.partition(f"```json {kind}\n")[2].partition("```")[0]


def default_of(field: Any) -> str:
    """Return how the page writes a default."""
    if field.required:
        return "required"
    value = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    return "none" if value is None else f"`{msgspec.json.encode(value).decode()}`"


def fields_of_steps(kind: str) -> list[Any]:
    """Return the keys of the step that has a table of its own, without those of all steps."""
    if kind != "transform":
        return []
    fields = msgspec.structs.fields(DecodeImage)
    return [field for field in fields if field.name not in ("input", "output")]


def test_every_kind_has_a_section() -> None:
    """And none is described that is not there."""
    assert set(re.findall(r"^## (\w+)$", PAGE, re.MULTILINE)) == set(OPTIONS)
    assert set(OPTIONS) <= set(known_kinds())


@pytest.mark.parametrize("kind", OPTIONS)
def test_options_and_defaults_are_the_codes(kind: str) -> None:
    """One line an option, in the order of the code."""
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [A-Z`]", section(kind), re.MULTILINE)
    fields = [*msgspec.structs.fields(OPTIONS[kind]), *fields_of_steps(kind)]

    assert rows == [(field.name, default_of(field)) for field in fields]


def test_steps_are_the_codes() -> None:
    """Every step of a transform is in the table."""
    tags = {step.__struct_config__.tag for step in AnyStep.__args__}

    assert set(re.findall(r"^\| `(\w+)` \| [^|]+ \|$", section("transform"), re.MULTILINE)) == tags


def test_examples_load(tmp_path: Path) -> None:
    """What the page shows is what the kinds read."""
    (tmp_path / "transform.json").write_text(example("transform"))
    (tmp_path / "pipeline.json").write_text(example("pipeline"))

    transform = load_transform(str(tmp_path), "transform.json")
    load_pipeline(str(tmp_path), "pipeline.json", ServablesInMemory())
    msgspec.json.decode(example("tf_serving"), type=RemoteModelJson)

    (features,) = transform.signatures["serving_default"].outputs.values()
    assert features.shape == (1 + 3 + 200,)
    (tmp_path / "transform.json").write_text(example("decode_image"))
    (pixels,) = load_transform(str(tmp_path), "transform.json").signatures.values()
    assert pixels.outputs["pixels"].shape == (224, 224, 3)


def test_files_that_are_never_read_are_those_of_the_code() -> None:
    """Each ending is on the page, with what to export instead."""
    table = PAGE.partition("\n## Model files that are never read\n")[2]
    rows = re.findall(r"^\| (`\..*?) \| `(.*)` \| `(\w+)` \|$", table, re.MULTILINE)

    told = {
        ending: (export, kind)
        for endings, export, kind in rows
        for ending in re.findall(r"`(\.\w+)`", endings)
    }
    assert told.keys() == REMEDIES.keys()
    for ending, (export, kind) in told.items():
        assert export in REMEDIES[ending]
        assert REMEDIES[ending].endswith(f"the kind {kind}")


def test_the_overview_has_every_kind() -> None:
    """One row, or one that it shares."""
    overview = PAGE.partition("\n## ")[0]

    assert set(re.findall(r"\[`(\w+)`\]\(#\w+\)", overview)) == set(OPTIONS)


@pytest.mark.parametrize("shown", ["open_inference", "open_inference-declared"])
def test_a_remote_model_is_served_as_the_page_says(tmp_path: Path, shown: str) -> None:
    """By the entry of a configuration and the version's files that it shows."""
    (entry,) = re.findall(r"^```toml open_inference\n(.*?)^```", PAGE, re.MULTILINE | re.DOTALL)
    (served,) = tomllib.loads(entry)["servables"]
    (tmp_path / "1").mkdir()
    (tmp_path / "1/open_inference.json").write_text(example(shown))
    tensors = [("features", "FP32", [-1, 4])], [("probabilities", "FP32", [-1, 3])]

    with serving(InferenceServer(*tensors)) as address:
        options = {**served["options"], "target": address}
        core = Core([a_config(served["name"], tmp_path, kind=served["kind"], options=options)])
        core.start()
        assert core.core.wait_until_available(LIMIT_SECONDS)
        with core.core.get_servable_handle(ServableRequest.latest("iris")) as handle:
            (signature,) = handle.servable.signatures.values()
        core.close()

    assert signature.inputs["features"].shape == (4,)
    assert signature.outputs["probabilities"].shape == (3,)
