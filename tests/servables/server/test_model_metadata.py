"""Metadata is TF Serving's JSON, for SavedModels and for kinds that have no graph."""

import numpy as np

from tests.support.servables.kind_context import FunctionServable
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.kinds.servable import Scope, Signature, TensorSpec
from topicserve.servables.server.model_metadata import model_metadata


def test_a_kind_without_a_graph_has_the_same_shape() -> None:
    """Derived from its signatures: dtypes, dimensions with the batch's, unknown ranks, defaults."""
    signature = Signature(
        {
            "x": TensorSpec(np.dtype(np.float32), (None, 3)),
            "rate": TensorSpec(np.dtype(np.float32), (), Scope.CALL),
        },
        {"y": TensorSpec(np.dtype(object))},
        defaults={"x": np.zeros((1, 1, 3), np.float32)},
    )

    found = model_metadata(ServableId("m", 7), FunctionServable(signature, None))

    assert found["model_spec"] == {"name": "m", "signature_name": "", "version": "7"}
    made = found["metadata"]["signature_def"]["signature_def"]["serving_default"]
    assert made["method_name"] == "tensorflow/serving/predict"
    assert made["inputs"].pop("rate")["tensor_shape"] == {"dim": [], "unknown_rank": False}
    assert made["inputs"] == {
        "x": {
            "name": "x",
            "dtype": "DT_FLOAT",
            "tensor_shape": {
                "dim": [{"size": size, "name": ""} for size in ("-1", "-1", "3")],
                "unknown_rank": False,
            },
        }
    }
    assert made["outputs"]["y"]["tensor_shape"] == {"dim": [], "unknown_rank": True}
    assert made["outputs"]["y"]["dtype"] == "DT_STRING"
    assert made["defaults"]["x"]["dtype"] == "DT_FLOAT"
