"""What has rows is told from a SavedModel's signatures, and every record gets its own answer."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
import tensorflow as tf

from tests.servables.kinds.saved_model import exports
from tests.support.stages.outcomes import outcomes
from tests.support.stages.records import a_request
from topicserve.servables.kinds.saved_model import saved_model
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.saved_model import SavedModel
from topicserve.servables.kinds.servable import Scope
from topicserve.wire.dead_letter import Reason
from topicserve.wire.json_codec.body import Form
from topicserve.wire.protobuf_codec import decode_predict_response

NAMES = ["cat", "dog", "fox"]


@pytest.fixture(scope="module")
def path(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Return where the signatures are exported."""
    return exports.export_tf1(tmp_path_factory.mktemp("scopes") / "1", exports.scopes)


@pytest.fixture(scope="module")
def model(path: str) -> Iterator[SavedModel]:
    """Return them loaded as they are declared."""
    loaded = SavedModel.load(path, SavedModelOptions())
    yield loaded
    loaded.close()


@pytest.fixture(scope="module")
def labels(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SavedModel]:
    """Return a TF 2 export of functions within functions."""
    path = exports.export_labels(tmp_path_factory.mktemp("labels") / "1")
    loaded = SavedModel.load(path, SavedModelOptions())
    yield loaded
    loaded.close()


def f32(*values: Any) -> Any:
    """Return float32 values."""
    return np.array(values, np.float32)


def values_of(model: SavedModel, signature: str, *requests: Any, sizes: Any = ()) -> list[Any]:
    """Return what each record gets, alone and in the batch: the same."""
    together = outcomes(model, requests, sizes, signature)
    for request in requests:
        assert outcomes(model, [request], (), signature).items() <= together.items()
    return [_value(together[request.input.record_id], request) for request in requests]


def _value(outcome: Any, request: Any) -> Any:
    if not isinstance(outcome, bytes):
        return outcome
    if request.input.form is Form.TENSORS:
        return {n: c.tolist() for n, c in decode_predict_response(outcome).columns.items()}
    body = orjson.loads(outcome)
    return next(body[key] for key in ("prediction", "predictions", "outputs") if key in body)


@pytest.mark.parametrize(
    ("name", "inputs", "outputs", "joins"),
    [
        ("image", {"size": Scope.CALL, "x": Scope.ROW}, {"y": Scope.ROW}, True),
        ("scalar", {"n": Scope.CALL, "x": Scope.ROW}, {"y": Scope.ROW}, True),
        ("text", {"text": Scope.CALL, "x": Scope.ROW}, {"y": Scope.ROW}, True),
        (
            "untold",
            {"keep": Scope.UNKNOWN, "phase": Scope.UNKNOWN, "x": Scope.ROW},
            {"y": Scope.UNKNOWN},
            False,
        ),
        ("names", {"x": Scope.ROW}, {"names": Scope.CALL, "y": Scope.ROW}, True),
        ("names_of_no_rank", {"x": Scope.ROW}, {"names": Scope.CALL, "y": Scope.ROW}, True),
        (
            "of_size",
            {"size": Scope.CALL, "x": Scope.ROW},
            {"double": Scope.CALL, "y": Scope.ROW},
            True,
        ),
        ("mean", {"x": Scope.ROW}, {"mean": Scope.BATCH, "y": Scope.ROW}, False),
        ("first", {"x": Scope.ROW}, {"first": Scope.BATCH, "y": Scope.ROW}, False),
        ("no_batch", {"v": Scope.UNKNOWN}, {"double": Scope.UNKNOWN, "sum": Scope.CALL}, False),
    ],
)
def test_scopes_are_told_from_shapes_and_the_graph(
    model: SavedModel, name: str, inputs: Any, outputs: Any, joins: bool
) -> None:
    """Once, when the version is loaded."""
    signature = model.signatures[name]

    assert {n: spec.scope for n, spec in signature.inputs.items()} == inputs
    assert {n: spec.scope for n, spec in signature.outputs.items()} == outputs
    assert signature.joins_records is joins


@pytest.mark.parametrize(
    ("name", "output", "scope"),
    [
        ("serving_default", "names", Scope.CALL),
        ("most", "most", Scope.BATCH),
        ("looped", "steps", Scope.BATCH),
    ],
)
def test_the_search_goes_through_functions(
    labels: SavedModel, name: str, output: str, scope: Scope
) -> None:
    """A variable is a constant; what cannot be looked into may depend on anything."""
    assert labels.signatures[name].outputs[output].scope is scope
    assert labels.signatures[name].outputs["scores"].scope is Scope.ROW


def test_constant_outputs_go_whole_to_each_record(model: SavedModel, labels: SavedModel) -> None:
    """In any batch, also one of as many rows as there are names, and padded."""
    requests = [a_request([n, n]) for n in range(3)]
    in_columns = a_request([[5, 5], [6, 6]], form=Form.INPUTS)

    three = values_of(model, "names", *requests, sizes=(8,))
    *_, columns = values_of(model, "names", *requests, in_columns)
    tf2 = values_of(labels, "serving_default", a_request([1, 2]), a_request([3, 4]))

    assert three == [{"names": NAMES, "y": [2 * n, 2 * n]} for n in range(3)]
    assert columns == {"names": NAMES, "y": [[10, 10], [12, 12]]}
    assert tf2 == [{"names": NAMES[:2], "scores": [n + 1, n + 2]} for n in (1, 3)]


def test_a_scalar_output_may_be_text(model: SavedModel) -> None:
    """In rows, columns and protobuf."""
    requests = [
        a_request([1, 2]),
        a_request([[1, 2]], form=Form.INPUTS),
        a_request({"x": f32([1, 2])}, form=Form.TENSORS),
    ]

    values = values_of(model, "titled", *requests)

    assert [value["title"] for value in values] == ["one", "one", b"one"]


def test_call_inputs_keep_records_apart(model: SavedModel) -> None:
    """Whatever their form, and whatever agrees by chance."""
    requests = [
        a_request({"x": [1, 1], "size": [10, 100]}),
        a_request({"x": [2, 2], "size": [10, 100]}),
        a_request({"x": [1, 1], "size": [1, 2]}),
        a_request([{"x": [n, n], "size": [3, 4]} for n in (1, 2)], form=Form.INSTANCES, rows=2),
        a_request({"x": [[1, 1], [2, 2], [3, 3]], "size": [10, 100]}, form=Form.INPUTS),
        a_request({"x": f32([1, 1], [2, 2]), "size": f32(5, 6)}, form=Form.TENSORS),
    ]

    assert values_of(model, "image", *requests, sizes=(16,)) == [
        [10, 100],
        [20, 200],
        [1, 2],
        [[3, 4], [6, 8]],
        [[10, 100], [20, 200], [30, 300]],
        {"y": [[5, 6], [10, 12]]},
    ]


def test_scalars_of_any_dtype_are_taken(model: SavedModel) -> None:
    """Integers and strings, in columns, rows and protobuf."""
    integers = [
        a_request({"n": 3, "x": [[1, 1]]}, form=Form.INPUTS),
        a_request({"n": 3, "x": [1, 2]}),
        a_request({"n": np.int32(2), "x": f32([1, 1])}, form=Form.TENSORS),
    ]
    strings = [a_request({"text": text, "x": [1, 1]}) for text in ("a", "b", "a")]

    assert values_of(model, "scalar", *integers) == [[[3, 3]], [3, 6], {"y": [[2, 2]]}]
    assert [value[-1] for value in values_of(model, "text", *strings)] == ["a", "b", "a"]


def test_scalars_reach_a_graph_of_unknown_ranks(model: SavedModel) -> None:
    """A keep rate and a phase, as they are written."""
    requests = [
        a_request({"x": [1, 1], "keep": 0.5, "phase": False}),
        a_request({"x": [1, 1], "keep": 0.25, "phase": False}),
        a_request({"x": [1, 1], "keep": 1.0, "phase": True}),
        a_request({"x": [[1, 1]], "keep": 0.5, "phase": False}, form=Form.INPUTS),
    ]

    assert values_of(model, "untold", *requests) == [[2, 2], [4, 4], [100, 100], [[2, 2]]]


def test_what_is_computed_from_rows_is_of_a_records_own(model: SavedModel) -> None:
    """A mean over the batch is a mean over the record's rows."""
    requests = [
        a_request([1, 3]),
        a_request([5, 7]),
        a_request([[1, 1], [3, 3]], form=Form.INSTANCES, rows=2),
    ]

    assert [
        v if isinstance(v, list) else v["mean"]
        for v in values_of(model, "mean", *requests, sizes=(8,))
    ] == [2, 6, [{"mean": 2, "y": [2, 2]}, {"mean": 2, "y": [6, 6]}]]
    assert values_of(model, "first", *requests[:2])[1] == {"first": [5, 7], "y": [10, 14]}


def test_without_a_batch_dimension_records_have_calls_of_their_own(model: SavedModel) -> None:
    """An instance is the whole value."""
    requests = [
        a_request([1, 2, 3]),
        a_request([4, 5, 6]),
        a_request([1, 1, 1], form=Form.INPUTS),
        a_request({"v": f32(1, 1, 2)}, form=Form.TENSORS),
        a_request([1, 2]),
    ]

    *values, (reason, _) = values_of(model, "no_batch", *requests)

    assert values == [
        {"double": [2, 4, 6], "sum": 6},
        {"double": [8, 10, 12], "sum": 15},
        {"double": [2, 2, 2], "sum": 3},
        {"double": [2, 2, 4], "sum": 4},
    ]
    assert reason is Reason.INVALID_INPUT


def test_an_output_that_is_not_wanted_cannot_fail_a_record(model: SavedModel) -> None:
    """Only what the output_filter names is fetched."""
    tensors = {"x": f32([1, 2])}
    wanting = [
        a_request(tensors, form=Form.TENSORS, output_filter=names) for names in (("y",), ("fails",))
    ]

    first, (reason, _), (all_reason, _) = values_of(
        model, "failing", *wanting, a_request(tensors, form=Form.TENSORS)
    )

    assert first == {"y": [[2, 4]]}
    assert {reason, all_reason} == {Reason.PREDICT_FAILED}


def test_a_filter_decides_which_records_share_a_call(model: SavedModel) -> None:
    """A mean that is not wanted keeps no records apart."""
    narrowed = model.signatures["mean"].with_outputs(["y"])

    assert narrowed.joins_records


def test_complex_outputs_are_for_protobuf(model: SavedModel) -> None:
    """JSON is refused with the output's name."""
    (reason, message), tensors = values_of(
        model, "complex", a_request([1, 2]), a_request({"x": f32([1, 2])}, form=Form.TENSORS)
    )

    assert (reason, b"output 'z' is complex64" in message) == (Reason.INVALID_INPUT, True)
    assert tensors["z"] == [[1 + 1j, 2 + 2j]]


def test_batch_records_false_takes_tensors_whole(path: str) -> None:
    """As TF Serving without batching: other numbers of rows come out, and calls are not shared."""
    model = SavedModel.load(path, SavedModelOptions(batch_records=False))

    values = values_of(
        model,
        "repeated",
        a_request({"x": f32([1, 1])}, form=Form.TENSORS),
        a_request([[1, 1], [2, 2]], form=Form.INPUTS),
        a_request([1, 1]),
    )

    assert values[0] == {"y": [[2, 2], [2, 2]]}
    assert values[1:] == [[[2, 2], [4, 4], [2, 2], [4, 4]], [[2, 2], [2, 2]]]
    assert not any(signature.joins_records for signature in model.signatures.values())
    model.close()


def test_batch_records_true_vouches_for_the_model(path: str) -> None:
    """Unknown ranks have rows then, and outputs for the call are the same whatever the rows."""
    model = SavedModel.load(path, SavedModelOptions(batch_records=True))

    assert model.signatures["untold"].inputs["keep"].scope is Scope.ROW
    assert model.signatures["first"].outputs["first"].scope is Scope.CALL
    assert model.signatures["untold"].joins_records
    model.close()


def test_an_output_of_other_rows_names_the_remedy(model: SavedModel) -> None:
    """It is never cut to what would fit."""
    ((reason, message),) = values_of(model, "repeated", a_request([1, 1]))

    assert reason is Reason.PREDICT_FAILED
    assert b"'y' has the shape [2, 2] for 1 rows" in message


def test_a_load_says_which_signatures_are_called_for_each_record_alone(
    path: str, caplog: pytest.LogCaptureFixture
) -> None:
    """And why; with the option set, the owner knows."""
    caplog.set_level("INFO", "topicserve")

    SavedModel.load(path, SavedModelOptions()).close()
    said = [
        one.getMessage() for one in caplog.records if "for each record alone" in one.getMessage()
    ]
    caplog.clear()
    SavedModel.load(path, SavedModelOptions(batch_records=False)).close()

    (line,) = said
    names = [one.split("'")[1] for one in line.partition("batch_records): ")[2].split("; ")]
    assert sorted(names) == ["first", "mean", "no_batch", "untold"]
    assert "'mean': the output 'mean' is for the whole call, and may be computed" in line
    assert "whether the input 'keep' has rows is not declared" in line
    assert not [one for one in caplog.records if "record alone" in one.getMessage()]


def test_a_load_names_every_such_signature(
    path: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In several lines where one would be cut."""
    caplog.set_level("INFO", "topicserve")
    monkeypatch.setattr(saved_model, "MAX_TOLD_CHARACTERS", 100)

    SavedModel.load(path, SavedModelOptions()).close()

    said = [
        one.getMessage() for one in caplog.records if "for each record alone" in one.getMessage()
    ]
    text = " ".join(said)
    assert len(said) > 1
    assert [text.count(f"{name!r}: ") for name in ("first", "mean", "no_batch", "untold")] == [
        1
    ] * 4


class Remembering(tf.Module):  # type: ignore[misc]  # TensorFlow has no types
    """Gives a value of the call that comes back out of a variable."""

    def __init__(self) -> None:
        super().__init__()
        self.last = tf.Variable(0.0)

    @tf.function(input_signature=[tf.TensorSpec([None], tf.float32, name="x")])  # type: ignore[untyped-decorator]
    def f(self, x: Any) -> dict[str, Any]:
        self.last.assign(tf.reduce_sum(x))
        return {"y": x, "total": self.last.read_value()}


def test_a_row_that_goes_through_a_variable_is_seen(tmp_path: Path) -> None:
    """What is written in a call is no constant: records have calls of their own."""
    module = Remembering()
    tf.saved_model.save(module, str(tmp_path / "1"), signatures={"serving_default": module.f})
    loaded = SavedModel.load(str(tmp_path / "1"), SavedModelOptions())

    signature = loaded.signatures["serving_default"]
    loaded.close()

    assert signature.outputs["total"].scope is not Scope.CALL
    assert not signature.joins_records
