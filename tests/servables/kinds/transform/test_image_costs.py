"""What images take of a call is known from their headers, before any is decoded."""

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from PIL import Image

from tests.support.servables.images import decoder, encoded
from tests.support.servables.kind_context import ServablesInMemory
from tests.support.stages.poison import Line, reason_of
from tests.support.stages.records import a_kafka_record
from topicserve.servables.kinds.pipeline.pipeline import load_pipeline
from topicserve.servables.kinds.transform import image_step
from topicserve.servables.kinds.transform.image_step import PIXELS_OF_A_CALL, VALUES_OF_A_CALL
from topicserve.servables.kinds.transform.transform import Transform, TransformDefinition

LARGE = encoded(Image.new("1", (5000, 5000)))
SMALL = encoded(Image.new("RGB", (20, 10)))
OF_OUTPUT = 2 * 4 * 3 / VALUES_OF_A_CALL
NAMED = {"image": np.array([LARGE, SMALL, b"none", LARGE[:100]], object)}
WANTED = [
    5000 * 5000 / PIXELS_OF_A_CALL + OF_OUTPUT,
    200 / PIXELS_OF_A_CALL + OF_OUTPUT,
    OF_OUTPUT,
    5000 * 5000 / PIXELS_OF_A_CALL + OF_OUTPUT,
]


def test_an_image_costs_the_pixels_of_its_header() -> None:
    """And those that come out. What is no image costs no more than these."""
    assert costs_of(decoder()) == pytest.approx(WANTED)


def test_an_image_that_is_refused_for_its_size_costs_nothing_more() -> None:
    """It is not decoded."""
    assert costs_of(decoder(max_pixels=1000))[0] == pytest.approx(OF_OUTPUT)


def test_what_comes_before_the_images_is_looked_through() -> None:
    """As a column of another name or shape; and a transform without images says nothing."""
    steps: list[dict[str, Any]] = [
        {"step": "rename", "input": "image", "output": "again"},
        {"step": "reshape", "input": "again", "shape": []},
        {"step": "decode_image", "input": "again", "size": [2, 4]},
        {"step": "cast", "input": "again", "dtype": "float32"},
    ]
    definition = {
        "inputs": {"image": {"dtype": "string", "shape": [1]}},
        "steps": steps,
        "outputs": ["again"],
    }
    columns = {"image": NAMED["image"].reshape(-1, 1)}

    made = Transform(msgspec.convert(definition, TransformDefinition))
    found = made.row_costs(columns, "serving_default")

    assert found is not None
    assert found.tolist() == pytest.approx(WANTED)
    definition["steps"], definition["outputs"] = steps[:1], ["image"]
    without = Transform(msgspec.convert(definition, TransformDefinition))
    assert without.row_costs(columns, "serving_default") is None


def test_a_pipeline_costs_what_its_inputs_cost_the_steps(tmp_path: Path) -> None:
    """Also one that is a step of another."""
    images = decoder()
    context = ServablesInMemory({("images", 1): images})
    inner = write_pipeline(tmp_path / "inner", "images", "image")
    step = load_pipeline(inner, "pipeline.json", context)
    context.publish({("images", 1): images, ("inner", 1): step})
    outer = write_pipeline(tmp_path / "outer", "inner", "image")

    with load_pipeline(outer, "pipeline.json", context).hold() as (held, _):
        found = held.row_costs(NAMED, "serving_default")  # type: ignore[attr-defined]

    assert found.tolist() == pytest.approx(WANTED)


def write_pipeline(directory: Path, servable: str, name: str) -> str:
    """Write a pipeline of one step, and return its directory."""
    step = {"name": "one", "servable": servable, "inputs": {"image": name}}
    definition = {"steps": [step], "outputs": {"pixels": "one.pixels"}}
    directory.mkdir()
    (directory / "pipeline.json").write_bytes(msgspec.json.encode(definition))
    return str(directory)


def costs_of(servable: Transform) -> list[float]:
    """Return what four images cost."""
    found = servable.row_costs(NAMED, "serving_default")
    assert found is not None
    return [float(one) for one in found]


def test_records_with_large_images_share_batches_that_are_small(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A thousand tiny files may hold as many pixels each as are allowed; all are answered."""
    monkeypatch.setattr(image_step, "PIXELS_OF_A_CALL", 2_000)
    sizes: list[int] = []
    servable = decoder()
    predict = servable.predict

    def counted(inputs: Any, signature_name: str) -> Any:
        sizes.append(len(inputs["image"]))
        return predict(inputs, signature_name)

    servable.predict = counted  # type: ignore[assignment]
    line = Line(servable)
    large, small = encoded(Image.new("RGB", (30, 30))), encoded(Image.new("RGB", (2, 2)))
    files = [large] * 7 + [small] * 5
    given = [
        a_kafka_record(offset, value=file, headers=[("content-type", b"image/png")])
        for offset, file in enumerate(files)
    ]

    outcomes = line.run(*given)

    assert [reason_of(outcomes[offset]) for offset in range(12)] == [None] * 12
    assert sizes == [2, 2, 2, 6]
