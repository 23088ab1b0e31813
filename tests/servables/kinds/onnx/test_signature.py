"""What of an ONNX model has rows."""

from collections.abc import Mapping, Sequence

import pytest

from topicserve.servables.core.errors import UnimplementedError
from topicserve.servables.kinds.onnx.signature import Value, read_onnx_signature
from topicserve.servables.kinds.servable import Scope

Shape = Sequence[int | str | None] | None
Shapes = Mapping[str, Shape]


def scopes(inputs: Shapes, outputs: Shapes, batch_records: bool | None = None) -> dict[str, Scope]:
    """Return what each input and output belongs to."""
    found = read_onnx_signature(values(inputs), values(outputs), batch_records)
    specs = {**found.signature.inputs, **found.signature.outputs}
    return {name: spec.scope for name, spec in specs.items()}


def values(shapes: Shapes) -> list[Value]:
    """Return float tensors of these shapes."""
    return [Value(name, "tensor(float)", shape) for name, shape in shapes.items()]


ROW, CALL, BATCH, UNKNOWN = Scope.ROW, Scope.CALL, Scope.BATCH, Scope.UNKNOWN


@pytest.mark.parametrize("name", ["batch", "N", "s31", None, "unk__6", "None", "x_dim_0", ""])
def test_an_unknown_first_dimension_is_rows(name: str | None) -> None:
    """Whatever its name, or without any."""
    assert scopes({"x": [name, 4]}, {"y": [name, 3]}) == {"x": ROW, "y": ROW}


def test_what_is_fixed_beside_rows_is_for_the_whole_call() -> None:
    """As for SavedModels: inputs are shared, outputs may be computed from rows."""
    found = scopes({"x": ["batch"], "rate": [], "size": [2]}, {"y": ["batch"], "mean": [3]})

    assert found == {"x": ROW, "rate": CALL, "size": CALL, "y": ROW, "mean": BATCH}


def test_first_dimensions_of_different_names_are_different_numbers_of_rows() -> None:
    """There is no batch dimension: each record has a call of its own, which the log explains."""
    inputs: Shapes = {"texts": ["texts", 4], "images": ["images", 4]}
    found = read_onnx_signature(values(inputs), values({"scores": ["texts", "images"]}), None)

    assert set(scopes(inputs, {"scores": ["texts", "images"]}).values()) == {UNKNOWN}
    assert not found.signature.joins_records
    assert found.reason_alone == (
        "the first dimensions of its inputs have different names: 'images' and 'texts'"
    )


def test_names_that_exporters_make_up_say_nothing() -> None:
    """tf2onnx names the same batch differently in each input; another exporter does in outputs."""
    found = scopes(
        {"left": ["unk__6", 4], "right": ["unk__7", 4], "third": ["batch", 4]},
        {"y": ["unk__8", 3], "z": ["Gemmz_dim_0", 3]},
    )

    assert set(found.values()) == {ROW}


def test_an_output_of_another_name_may_have_rows_of_its_own() -> None:
    """Such as detections, of which there are more or fewer than images."""
    found = scopes({"images": ["batch", 3]}, {"boxes": ["boxes", 4], "classes": ["batch"]})

    assert found == {"images": ROW, "boxes": UNKNOWN, "classes": ROW}


def test_an_output_is_of_rows_where_the_inputs_have_no_name() -> None:
    """Then its own name cannot differ."""
    assert scopes({"x": [None, 4]}, {"y": ["N", 3]}) == {"x": ROW, "y": ROW}


def test_the_owner_may_know_better() -> None:
    """The option batch_records stands above all names."""
    inputs, outputs = {"a": ["a"], "b": ["b"]}, {"y": ["c"], "mean": []}

    trusted = scopes(inputs, outputs, batch_records=True)
    apart = scopes({"a": ["a"]}, outputs, batch_records=False)

    assert trusted == {"a": ROW, "b": ROW, "y": ROW, "mean": CALL}
    assert set(apart.values()) == {UNKNOWN}


def test_fixed_sizes_are_no_rows_but_one_is() -> None:
    """A batch of one is how models for one row are exported."""
    assert set(scopes({"x": [3, 3]}, {"y": [3]}).values()) == {UNKNOWN}
    one = read_onnx_signature(values({"x": [1, 4]}), values({"y": [1, 3]}), None)
    assert (one.rows_of_a_call, one.signature.joins_records) == (1, True)


@pytest.mark.parametrize("size", [0, -1])
def test_sizes_that_are_none_are_unknown(size: int) -> None:
    """Some exporters write a number where they mean any."""
    assert scopes({"x": [size, 4]}, {"y": [size, 3]}) == {"x": ROW, "y": ROW}


@pytest.mark.parametrize("kind", ["seq(tensor(float))", "tensor(bfloat16)", "optional(...)"])
def test_an_input_that_no_column_can_be_is_named(kind: str) -> None:
    """With its type."""
    with pytest.raises(UnimplementedError, match="the input 'x' is"):
        read_onnx_signature([Value("x", kind, [])], values({"y": ["batch"]}), None)
