"""Classify and regress signatures take plain features."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow as tf

from tests.servables.kinds.saved_model import exports
from tests.support.stages.outcomes import outcomes
from tests.support.stages.records import a_request
from topicserve.protos.predict_pb2 import PredictResponse
from topicserve.protos.tensors import from_tensor_proto
from topicserve.servables.core.errors import FailedPreconditionError, InvalidArgumentError
from topicserve.servables.kinds.saved_model.options import SavedModelOptions
from topicserve.servables.kinds.saved_model.saved_model import SavedModel
from topicserve.servables.kinds.servable import FeatureSpec, Signature, TensorSpec
from topicserve.wire.json_codec.body import Form

FLOAT32 = np.dtype(np.float32)
STRING = np.dtype(object)


def columns(*rows: tuple[float, list[bytes]]) -> dict[str, Any]:
    """Return feature columns of (x, words) rows."""
    return {
        "x": np.array([[x] for x, _ in rows], np.float32),
        "words": np.array([words for _, words in rows], object),
    }


def test_signature_names_the_features_that_are_parsed(half_plus_two: SavedModel) -> None:
    """The input is the graph's own, and beside it stands what the graph parses of it."""
    assert half_plus_two.signatures["classify"] == Signature(
        inputs={"inputs": TensorSpec(STRING, ())},
        outputs={"classes": TensorSpec(STRING, (2,)), "scores": TensorSpec(FLOAT32, (2,))},
        method_name="tensorflow/serving/classify",
        features={
            "words": FeatureSpec(STRING, (None,)),
            "x": FeatureSpec(FLOAT32, (1,), is_required=True),
        },
    )


def test_classification_gives_classes_and_scores(half_plus_two: SavedModel) -> None:
    """Each row has its classes, by name, with their scores."""
    outputs = half_plus_two.predict(columns((1, [b"a", b"b"]), (2, [b"c", b""])), "classify")

    assert outputs["classes"].tolist() == [[b"half", b"words"]] * 2
    assert outputs["scores"].tolist() == [[2.5, 2], [3, 1]]


def test_regression_gives_one_number_a_row(half_plus_two: SavedModel) -> None:
    """A model's [rows, 1] is answered as TF Serving does: a number a row."""
    outputs = half_plus_two.predict(columns((1, []), (4, [])), "regress")

    assert half_plus_two.signatures["regress"].outputs == {"outputs": TensorSpec(FLOAT32, ())}
    assert outputs["outputs"].tolist() == [2.5, 4]


def test_a_predict_request_has_a_regression_in_the_declared_shape(
    half_plus_two: SavedModel,
) -> None:
    """As TF Serving's Predict answers, beside records of JSON, which have a number a row."""
    example = tf.train.Example()
    example.features.feature["x"].float_list.value.append(4)
    serialized = np.array([example.SerializeToString()] * 2, object)
    requests = [
        a_request({"x": 1.0}),
        a_request({"inputs": serialized}, form=Form.TENSORS, rows=2),
        a_request([{"x": 2.0}], form=Form.INSTANCES),
        a_request({"x": np.array([[3]], np.float32)}, form=Form.TENSORS),
    ]

    found = outcomes(half_plus_two, requests, signature_name="regress")

    one, two, three, four = (found[request.input.record_id] for request in requests)
    assert json.loads(one)["prediction"] == 2.5
    assert json.loads(three)["predictions"] == [3.0]
    tensors = [
        from_tensor_proto(PredictResponse.FromString(b).outputs["outputs"]) for b in (two, four)
    ]
    assert [tensor.tolist() for tensor in tensors] == [[[4.0], [4.0]], [[3.5]]]


def test_missing_feature_is_an_invalid_argument(half_plus_two: SavedModel) -> None:
    """A feature without default that no row has is the caller's fault, by name."""
    with pytest.raises(InvalidArgumentError, match="x"):
        half_plus_two.predict({"words": np.array([[b"a"]], object)}, "regress")


def test_old_and_ragged_parsings_are_seen(directory: Path) -> None:
    """Both versions of the parsing operation name their features, ragged ones too."""
    path = exports.export_tf1(directory / "parsings", exports.other_parsings)
    model = SavedModel.load(path, SavedModelOptions())

    assert model.signatures["old"].features == {
        "words": FeatureSpec(STRING, (None,)),
        "x": FeatureSpec(FLOAT32, (1,)),
    }
    assert model.predict({"words": np.array([[b"a"]], object)}, "old")["outputs"].tolist() == [7]
    assert model.signatures["ragged"].features == {
        "numbers": FeatureSpec(np.dtype(np.int64), (None,))
    }
    numbers = np.array([[1, 2, 3], [4, 5, 6]])
    assert model.predict({"numbers": numbers}, "ragged")["outputs"].tolist() == [6, 15]
    model.close()


def test_unseen_parsing_takes_serialized_examples(odd: SavedModel) -> None:
    """Where the features cannot be seen, a row is a serialized tf.Example."""
    column = np.array([tf.train.Example().SerializeToString()] * 2, object)

    assert odd.signatures["unseen_parsing"].inputs == {"inputs": TensorSpec(STRING, ())}
    assert odd.signatures["unseen_parsing"].features == {}
    assert odd.predict({"inputs": column}, "unseen_parsing")["outputs"].tolist() == [1, 1]


def test_regression_of_several_numbers_is_refused(odd: SavedModel) -> None:
    """TF Serving's regression is one number a row."""
    with pytest.raises(FailedPreconditionError, match="one number a row"):
        odd.predict({"inputs": np.array([b""], object)}, "wide_regression")
