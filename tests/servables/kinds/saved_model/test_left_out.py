"""What a record may leave out, through columns and a real graph: each gets its own right answer."""

from collections.abc import Iterator
from itertools import permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.servables.kinds.saved_model import exports
from tests.support.stages.records import a_request
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.saved_model import SavedModel
from topicserve.servables.kinds.servable import FeatureSpec
from topicserve.wire.json_codec.body import Form
from topicserve.worker.stages.calls.feeds import build_feeds
from topicserve.worker.stages.request import Request

FLOAT32 = np.dtype(np.float32)


@pytest.fixture(scope="module")
def examples(directory: Path) -> Iterator[SavedModel]:
    """Yield a regression whose features may be left out, loaded."""
    path = exports.export_tf1(directory / "optional_features", exports.optional_features)
    model = SavedModel.load(path, SavedModelOptions())
    yield model
    model.close()


@pytest.fixture(scope="module")
def defaults(directory: Path) -> Iterator[SavedModel]:
    """Yield signatures with inputs that have defaults, loaded."""
    model = SavedModel.load(exports.export_defaults(directory / "defaults"), SavedModelOptions())
    yield model
    model.close()


def answers(
    model: SavedModel, requests: list[Request], signature_name: str = "serving_default"
) -> list[Any]:
    """Return what each request is answered: its rows of the only output, or why it was refused."""
    feeds, rejections = build_feeds(requests, model.signatures[signature_name])
    found: dict[int, Any] = {id(one.polled): str(one.error) for one in rejections}
    for feed in feeds:
        (output,) = model.predict(feed.columns, signature_name).values()
        assert len(output) == feed.rows
        start = 0
        for request in feed.requests:
            found[id(request)] = output[start : start + request.input.rows].tolist()
            start += request.input.rows
    return [found[id(request)] for request in requests]


def an_example(**features: float) -> bytes:
    """Return a serialized tf.Example of floats."""
    made = tf.train.Example()
    for name, value in features.items():
        made.features.feature[name].float_list.value.append(value)
    return bytes(made.SerializeToString())


def test_rows_of_features_share_a_batch_whatever_they_leave_out(examples: SavedModel) -> None:
    """Lone rows, rows, columns, tensors and serialized examples, of lists of any length."""
    requests = [
        a_request({"must": 2.0, "words": ["a"]}),
        a_request({"must": 2, "age": 1, "other": None}),
        a_request(
            [{"age": 1.0, "must": 2.0, "words": ["a", "b"]}, {"must": 2.0, "words": "a"}],
            form=Form.INSTANCES,
            rows=2,
        ),
        a_request({"must": [1.0, 2.0], "words": [[], ["a"]]}, form=Form.INPUTS, rows=2),
        a_request({"must": np.array([3], np.float32)}, form=Form.TENSORS),
        a_request({"inputs": np.array([an_example(must=4)], object)}, form=Form.TENSORS),
        a_request([an_example(must=5)], form=Form.INPUTS),
    ]

    (feed,), rejections = build_feeds(requests, examples.signatures["serving_default"])

    assert rejections == []
    assert feed.rows == 9
    assert answers(examples, requests) == [
        [1042],
        [3],
        [2003, 1042],
        [41, 1042],
        [43],
        [44],
        [45],
    ]


def test_a_row_without_a_required_feature_is_refused_alone(examples: SavedModel) -> None:
    """It is found before the call; its neighbours are predicted together."""
    requests = [a_request({"must": 1.0}), a_request({"age": 1.0}), a_request({"must": 2.0})]

    assert answers(examples, requests) == [
        [41],
        "feature 'must' is missing, and the model has no default",
        [42],
    ]


def test_features_are_those_that_the_outputs_need(examples: SavedModel) -> None:
    """All parsings of the examples count, but not what another signature alone needs."""
    assert examples.signatures["two_parsings"].features == {
        "age": FeatureSpec(FLOAT32, ()),
        "must": FeatureSpec(FLOAT32, (), is_required=True),
        "two": FeatureSpec(FLOAT32, (), is_required=True),
        "words": FeatureSpec(np.dtype(object), (None,)),
    }
    assert answers(examples, [a_request({"must": 1, "two": 2})], "two_parsings") == [[3]]


@pytest.mark.parametrize("signature_name", ["one", "scalar"])
def test_an_input_left_out_has_its_default(defaults: SavedModel, signature_name: str) -> None:
    """Beside records that give it, in any order, and in every form."""
    given = a_request({"x": [1.0, 1.0], "bias": 1.0})
    cases = [
        (given, [3]),
        (a_request({"x": [1.0, 1.0]}), [9]),
        (a_request([{"x": [1, 2]}, {"x": [3, 4]}], form=Form.INSTANCES, rows=2), [10, 14]),
        (a_request({"x": [[0.0, 0.0]]}, form=Form.INPUTS), [7]),
        (a_request({"x": np.array([[1, 0]], np.float32)}, form=Form.TENSORS), [8]),
    ]

    for order in permutations(cases):
        requests = [request for request, _ in order]
        assert answers(defaults, requests, signature_name) == [right for _, right in order]


def test_records_that_leave_out_one_row_share_a_call(defaults: SavedModel) -> None:
    """A default of one row says the same to all of them."""
    requests = [a_request({"x": [1.0, n]}) for n in range(5)]

    (feed,), _ = build_feeds(requests, defaults.signatures["one"])

    assert feed.rows == 5


def test_a_default_of_several_rows_is_never_spread_over_records(defaults: SavedModel) -> None:
    """TF Serving feeds it as it is; so a record of three rows gets one each, however many come."""
    three = a_request({"x": [[0, 0], [1, 0], [2, 0]]}, form=Form.INPUTS, rows=3)
    requests = [a_request({"x": [0.0, float(n)]}) for n in range(3)]

    feeds, _ = build_feeds([three, *requests], defaults.signatures["three"])

    assert [feed.rows for feed in feeds] == [3, 1, 1, 1]
    assert answers(defaults, [three], "three") == [[7, 9, 11]]


def test_rows_of_a_record_give_an_input_together_or_not_at_all(defaults: SavedModel) -> None:
    """A call has one default, not one a row."""
    mixed = a_request([{"x": [1, 1]}, {"x": [1, 1], "bias": 1.0}], form=Form.INSTANCES, rows=2)

    assert answers(defaults, [mixed, a_request({"x": [1, 1]})], "one") == [
        "input 'bias' must be in all rows of a record, or in none",
        [9],
    ]
    assert answers(defaults, [a_request({"bias": 1.0})], "one") == ["input 'x' is missing"]
