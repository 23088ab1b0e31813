"""Which records share a call, what it is fed with, and what each record gets of its outputs."""

from typing import Any

import numpy as np
import pytest

from tests.support.servables.kind_context import FunctionServable
from tests.support.stages.outcomes import outcomes
from tests.support.stages.records import a_request
from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.kinds.servable import Scope, Signature, TensorSpec
from topicserve.wire.dead_letter import Reason
from topicserve.wire.json_codec.body import Form
from topicserve.worker.stages.calls.feeds import Feed, build_feeds

FLOAT32, STRING = np.dtype(np.float32), np.dtype(object)
ROW = TensorSpec(FLOAT32, (2,))
SCALAR = TensorSpec(FLOAT32, (), Scope.CALL)
UNTOLD = TensorSpec(FLOAT32, None, Scope.UNKNOWN)
KEEP = Signature({"x": ROW, "keep": SCALAR}, {"y": ROW})
LABELS = Signature({"x": ROW}, {"y": ROW, "names": TensorSpec(STRING, (3,), Scope.CALL)})


def an_array(*values: Any) -> Any:
    """Return float32 values."""
    return np.array(values, np.float32)


@pytest.mark.parametrize("keep", [3, 0.5])
def test_call_inputs_come_as_they_are(keep: float) -> None:
    """As a scalar in columns and protobuf, and in each row of the row formats."""
    rows = [[1.0, 2.0], [3.0, 4.0]]
    requests = [
        a_request({"keep": keep, "x": rows}, form=Form.INPUTS),
        a_request({"x": an_array(*rows), "keep": np.asarray(keep, np.float32)}, form=Form.TENSORS),
        a_request([{"x": row, "keep": keep} for row in rows], form=Form.INSTANCES, rows=2),
        a_request({"x": rows[0], "keep": keep}),
    ]

    (feed,), rejections = build_feeds(requests, KEEP)

    assert rejections == []
    assert feed.counts == [2, 2, 2, 1]
    assert feed.columns["x"].shape == (7, 2)
    assert feed.columns["keep"].shape == ()
    assert feed.columns["keep"] == np.float32(keep)


def test_records_of_other_call_inputs_are_fed_apart() -> None:
    """Equal means equal in every bit: not-a-number equals itself, and 0 is not -0."""
    keeps = [0.5, float("nan"), 0.0, -0.0, 0.5, float("nan")]
    requests = [
        a_request({"x": an_array([n, n]), "keep": np.asarray(keep, np.float32)}, form=Form.TENSORS)
        for n, keep in enumerate(keeps)
    ]

    feeds, rejections = build_feeds(requests, KEEP)

    assert rejections == []
    assert [feed.columns["x"][:, 0].tolist() for feed in feeds] == [[0, 4], [1, 5], [2], [3]]


@pytest.mark.parametrize("value", ["a", {"b64": "/w=="}])
def test_strings_may_belong_to_the_call(value: Any) -> None:
    """In every form of JSON."""
    signature = Signature({"x": ROW, "mode": TensorSpec(STRING, (), Scope.CALL)}, {"y": ROW})
    requests = [a_request({"x": [1.0, 2.0], "mode": value}), a_request({"x": [3, 4], "mode": "b"})]

    feeds, rejections = build_feeds(requests, signature)

    assert rejections == []
    modes = [feed.columns["mode"] for feed in feeds]
    assert [mode.shape for mode in modes] == [(), ()]
    assert modes[0].item() == (b"a" if value == "a" else b"\xff")


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        (
            a_request([{"x": [1, 2], "keep": 1}, {"x": [1, 2], "keep": 2}], form=Form.INSTANCES),
            "keep: belongs to the whole call, and must be the same in all rows",
        ),
        (a_request({"x": [[1, 2]], "keep": [1, 2]}, form=Form.INPUTS), "keep: .*shape"),
        (a_request({"x": [1, 2]}), "input 'keep' is missing"),
        (a_request({"x": [1, 2], "keep": True}), "found a boolean"),
        (a_request({"x": 1, "keep": 1}, form=Form.INPUTS), "x: must be a list of rows"),
        (a_request({"x": [], "keep": 1}, form=Form.INPUTS), "x: has no rows"),
        (
            a_request({"x": an_array([1, 2]), "keep": np.float64(1)}, form=Form.TENSORS),
            "keep: must be float32, found float64",
        ),
        (
            a_request({"x": np.float32(1), "keep": np.float32(1)}, form=Form.TENSORS),
            "x: is a scalar; it must have rows",
        ),
    ],
)
def test_what_does_not_fit_is_refused_with_its_name(request_: Any, says: str) -> None:
    """Alone, before anything is predicted."""
    feeds, (rejection,) = build_feeds([request_], KEEP)

    assert feeds == []
    assert rejection.reason is Reason.INVALID_INPUT
    with pytest.raises(type(rejection.error), match=says):
        raise rejection.error


def test_inputs_of_other_lengths_are_refused_with_the_remedy() -> None:
    """TF Serving's Predict takes them; the option of the kinds says so here."""
    signature = Signature({"x": ROW, "z": ROW}, {"y": ROW})
    tensors = {"x": np.zeros((2, 2), np.float32), "z": np.zeros((3, 2), np.float32)}

    _, (rejection,) = build_feeds([a_request(tensors, form=Form.TENSORS)], signature)

    assert "differ in their number of rows: {'x': 2, 'z': 3}" in str(rejection.error)
    assert "batch_records = false" in str(rejection.error)


def test_an_instance_of_unknown_rank_is_taken_as_written() -> None:
    """So that a keep rate reaches the graph as a scalar; each record has a call of its own."""
    signature = Signature({"x": ROW, "keep": UNTOLD}, {"y": ROW})
    requests = [a_request({"x": [1, 2], "keep": 0.5}), a_request({"x": [3, 4], "keep": 0.5})]

    feeds, rejections = build_feeds(requests, signature)

    assert rejections == []
    assert [feed.columns["keep"].shape for feed in feeds] == [(), ()]
    assert [feed.columns["x"].tolist() for feed in feeds] == [[[1, 2]], [[3, 4]]]


def test_instances_of_unknown_rank_are_stacked() -> None:
    """As TF Serving reads them, whatever the values; and columns come as they are."""
    signature = Signature({"x": UNTOLD}, {"y": UNTOLD})
    requests = [
        a_request([[1, 2], [3, 4]], form=Form.INSTANCES, rows=2),
        a_request(5, form=Form.INPUTS),
        a_request([5], form=Form.INPUTS),
    ]

    feeds, _ = build_feeds(requests, signature)

    assert [feed.columns["x"].shape for feed in feeds] == [(2, 2), (), (1,)]


@pytest.mark.parametrize(
    ("request_", "shape", "has_rows"),
    [
        (a_request([[1, 2], [3, 4], [5, 6]]), (3, 2), False),
        (a_request([[1, 2], [3, 4], [5, 6]], form=Form.INSTANCES, rows=3), (3, 2), True),
        (a_request([[1, 2], [3, 4], [5, 6]], form=Form.INPUTS), (3, 2), False),
        (a_request([[[1, 2], [3, 4], [5, 6]]] * 2, form=Form.INSTANCES, rows=2), (3, 2), False),
    ],
)
def test_without_a_batch_dimension_an_instance_is_the_whole_value(
    request_: Any, shape: Any, has_rows: bool
) -> None:
    """A record of as many rows as the tensor has is fine, too."""
    spec = TensorSpec(FLOAT32, (3, 2), Scope.UNKNOWN)

    (feed,), _ = build_feeds([request_], Signature({"x": spec}, {"y": spec}))

    assert (feed.columns["x"].shape, feed.has_rows) == (shape, has_rows)


def filtered(*names: str) -> Any:
    """Return a record that wants these outputs."""
    return a_request({"x": an_array([1, 2])}, form=Form.TENSORS, output_filter=names)


@pytest.mark.parametrize(
    ("names", "says"),
    [
        (
            ("potato",),
            "output tensor alias not found in signature: potato "
            "Outputs expected to be in the set {names,y}.",
        ),
        (("y", "y"), "duplicate output tensor alias: y"),
    ],
)
def test_an_output_filter_is_checked_as_tf_serving_does(names: Any, says: str) -> None:
    """In the same words."""
    feeds, (rejection,) = build_feeds([filtered(*names)], LABELS)

    assert feeds == []
    assert (rejection.reason, str(rejection.error)) == (Reason.INVALID_INPUT, says)


class Choosing:
    """Notes what it is asked for."""

    def __init__(self) -> None:
        self.signatures = {"serving_default": LABELS}
        self.asked: list[Any] = []

    def predict(self, inputs: Any, signature_name: str = "serving_default") -> Any:
        return self.predict_outputs(inputs, signature_name, ("y", "names"))

    def predict_outputs(self, inputs: Any, _: str, outputs: Any) -> Any:
        self.asked.append(sorted(outputs))
        found = {"y": inputs["x"], "names": np.array([b"a", b"b", b"c"], object)}
        return {name: found[name] for name in outputs}


def test_only_wanted_outputs_are_fetched() -> None:
    """Records that want the same share a call; all outputs in another order are all."""
    requests = [filtered("y"), filtered(), filtered("y"), filtered("y", "names")]
    servable = Choosing()

    feeds, _ = build_feeds(requests, LABELS)
    answers = [
        feed.answers(feed.predict(servable, "serving_default", feed.rows), feed.rows)
        for feed in feeds
    ]

    assert servable.asked == [["y"], ["names", "y"]]
    assert [sorted(one.outputs) for one in answers] == [["y"], ["names", "y"]]
    assert [len(one.requests) for one in answers] == [2, 2]


@pytest.mark.parametrize("dtype", [np.complex64, np.complex128, np.longdouble])
def test_json_is_refused_where_it_would_lose_something(dtype: Any) -> None:
    """Before predicting; protobuf gets it, and so does what leaves that output out."""
    signature = Signature({"x": ROW}, {"y": ROW, "z": TensorSpec(np.dtype(dtype), (2,))})
    tensors = {"x": an_array([1, 2])}
    requests = [
        a_request([1, 2]),
        a_request([[1, 2]], form=Form.INSTANCES),
        a_request([[1, 2]], form=Form.INPUTS),
        a_request(tensors, form=Form.TENSORS),
    ]

    (feed,), rejections = build_feeds(requests, signature)

    assert feed.requests == requests[3:]
    assert {r.reason for r in rejections} == {Reason.INVALID_INPUT}
    assert f"output 'z' is {np.dtype(dtype).name}, which JSON" in str(rejections[0].error)


def test_padding_and_halving_leave_call_inputs_alone() -> None:
    """Only what has rows is filled up or split."""
    size = TensorSpec(FLOAT32, (3,), Scope.CALL)
    signature = Signature({"x": ROW, "size": size}, {"y": ROW})
    requests = [a_request({"x": [n, n], "size": [1, 2, 3]}) for n in range(3)]
    (feed,), _ = build_feeds(requests, signature)

    padded = feed.padded(8)
    first, second = feed.halves()

    assert (padded["x"].shape, padded["size"].tolist()) == ((8, 2), [1, 2, 3])
    assert [half.columns["x"].shape for half in (first, second)] == [(1, 2), (2, 2)]
    assert [half.columns["size"].tolist() for half in (first, second)] == [[1, 2, 3]] * 2


def a_feed(scope: Scope, has_rows: bool = True) -> Feed:
    """Return the feed of one record of two rows."""
    signature = Signature({"x": ROW}, {"y": TensorSpec(FLOAT32, None, scope)})
    request = a_request([[1, 2], [3, 4]], form=Form.INSTANCES, rows=2)
    return Feed([request], {"x": np.zeros((2, 2))}, signature, [2], has_rows)


@pytest.mark.parametrize(
    ("scope", "shape", "is_whole"),
    [
        (Scope.ROW, (2, 3), False),
        (Scope.CALL, (2,), True),
        (Scope.BATCH, (), True),
        (Scope.UNKNOWN, (2,), False),
        (Scope.UNKNOWN, (3,), True),
        (Scope.UNKNOWN, (), True),
    ],
)
def test_an_output_is_whole_where_it_has_no_rows(scope: Scope, shape: Any, is_whole: bool) -> None:
    """By its scope, and by its first dimension only where nothing else tells."""
    answers = a_feed(scope).answers({"y": np.zeros(shape)}, 2)

    assert answers.whole == (frozenset({"y"}) if is_whole else frozenset())


@pytest.mark.parametrize("shape", [(), (1, 2), (3, 2)])
def test_an_output_with_rows_has_exactly_those_of_the_call(shape: Any) -> None:
    """The message says what to do for a model that means something else."""
    with pytest.raises(FailedPreconditionError, match=r"for 2 rows; .*batch_records = false"):
        a_feed(Scope.ROW).answers({"y": np.zeros(shape)}, 2)


@pytest.mark.parametrize("scope", [Scope.CALL, Scope.BATCH, Scope.UNKNOWN])
def test_a_numpy_scalar_is_an_output_without_dimensions(scope: Scope) -> None:
    """What `x.mean()` returns."""
    scalar: Any = np.float32(1.5)
    feed = a_feed(scope)
    servable = FunctionServable(feed.signature, lambda _: {"y": scalar})

    answers = feed.answers(feed.predict(servable, "serving_default", 2), 2)

    assert isinstance(answers.outputs["y"], np.ndarray)
    assert (answers.outputs["y"].shape, answers.outputs["y"].tolist()) == ((), 1.5)


def test_a_declared_output_that_is_missing_is_named() -> None:
    """Another one does not take its place."""
    with pytest.raises(FailedPreconditionError, match="did not return the output 'y'"):
        a_feed(Scope.ROW).answers({"q": np.zeros(2)}, 2)


def test_an_output_that_is_not_declared_is_left_out() -> None:
    """Whatever its shape: the signature says what the results hold."""
    answers = a_feed(Scope.ROW).answers({"y": np.zeros(2), "q": np.zeros(7)}, 2)

    assert set(answers.outputs) == {"y"}


def test_an_undeclared_loss_fails_the_records_of_json_alone() -> None:
    """A servable may return another dtype than it declares."""

    class Complex:
        def __init__(self) -> None:
            self.signatures = {"serving_default": Signature({"x": ROW}, {"y": ROW})}

        def predict(self, inputs: Any, signature_name: str = "serving_default") -> Any:  # noqa: ARG002
            return {"y": inputs["x"] * 1j}

    requests = [a_request([1, 2]), a_request({"x": an_array([1, 2])}, form=Form.TENSORS)]

    first, second = outcomes(Complex(), requests).values()

    kinds = {type(first), type(second)}
    assert kinds == {bytes, tuple}
    assert isinstance(outcomes(Complex(), requests)[requests[1].input.record_id], bytes)


NO_ROWS = np.zeros((0, 2), np.float32)


@pytest.mark.parametrize(
    "request_",
    [
        a_request({"x": NO_ROWS, "keep": np.float32(1)}, form=Form.TENSORS),
        a_request({"keep": 1, "x": []}, form=Form.INPUTS),
    ],
)
def test_an_input_without_rows_is_named(request_: Any) -> None:
    """TF Serving would run the model on nothing; a record asks for one row at least."""
    feeds, (rejection,) = build_feeds([request_], KEEP)

    assert feeds == []
    assert rejection.reason is Reason.INVALID_INPUT
    assert str(rejection.error) == "x: has no rows; a record has at least one"


@pytest.mark.parametrize(
    ("uid", "found"),
    [
        (np.array([7]), "int64 of shape [1]"),
        (np.array([b"a", b"b"], object), "strings of shape [2]"),
        (np.array([], object), "strings of shape [0]"),
    ],
)
def test_a_metadata_uid_that_is_not_one_string_is_refused(uid: Any, found: str) -> None:
    """Also where a header gives the record id; a model that declares it may take anything."""
    x = np.zeros((1, 2), np.float32)
    signature = Signature({"x": ROW}, {"y": ROW})
    declared = Signature({"x": ROW, "metadata_uid": TensorSpec(uid.dtype, None, Scope.UNKNOWN)}, {})
    request = a_request({"x": x, "metadata_uid": uid}, form=Form.TENSORS)
    good = a_request({"x": x, "metadata_uid": np.array([b"a"], object)}, form=Form.TENSORS)

    feeds, (rejection,) = build_feeds([request, good], signature)

    assert [feed.requests for feed in feeds] == [[good]]
    assert str(rejection.error).startswith(f"metadata_uid: must be one string, found {found}")
    assert build_feeds([request], declared)[1] == []
