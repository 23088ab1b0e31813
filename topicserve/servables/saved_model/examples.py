"""Classify and regress signatures: rows of features become tf.Examples.

Such a signature takes one string tensor of serialized tf.Examples, which the graph parses itself.
Which features it looks for, of which types and shapes, stands in the graph: the parsing operation
that the tensor leads to names them. They are what the signature takes here, so that a record is a
row of plain features, `{"age": 31.0, "country": "fr"}`, as in TF Serving's classify and regress
calls. A feature of variable length is a list. Where the graph does not parse the examples in
sight (a TF 2 export does so inside a function), the signature takes what the tensor does: one
string a row, the serialized tf.Example.

Answers are TF Serving's: `classes` and `scores` [rows, classes] of a classification, and one
number a row of a regression, also where the model gives [rows, 1].
"""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.protos.example_pb2 import BytesList, Example, Feature, FloatList, Int64List
from topicserve.protos.tensors import to_dtype
from topicserve.servables.errors import FailedPreconditionError
from topicserve.servables.saved_model.runtime import tf
from topicserve.servables.saved_model.signature_call import SignatureCall
from topicserve.servables.servable import Columns, Signature, TensorSpec
from topicserve.servables.signature_def import CLASSIFY, REGRESS

Array = NDArray[Any]
Features = dict[str, TensorSpec]

_PARSE_OPERATIONS = ("ParseExample", "ParseExampleV2")
# What may lie between the placeholder and the parsing.
_PASS_THROUGH = ("Identity", "PlaceholderWithDefault", "StopGradient")


def takes_examples(signature: Signature) -> bool:
    """Return whether TF Serving would feed this signature with tf.Examples."""
    return (
        signature.method_name in (CLASSIFY, REGRESS)
        and len(signature.inputs) == 1
        and all(spec.dtype.hasobject for spec in signature.inputs.values())
    )


class ExampleCall:
    """Builds one tf.Example a row, and calls the signature with them."""

    def __init__(self, call: SignatureCall, features: Features) -> None:
        self._call = call
        (self._input,) = call.signature.inputs
        self._is_regression = call.signature.method_name == REGRESS
        self._features = features
        self.signature = _as_answered(call.signature, features)

    def predict(self, inputs: Columns) -> Columns:
        """Return as many rows as came in."""
        if self._features:
            inputs = {self._input: serialized_examples(inputs)}
        outputs = self._call.predict(inputs)
        if self._is_regression:
            return {name: _one_a_row(column, name) for name, column in outputs.items()}
        return outputs


def _as_answered(signature: Signature, features: Features) -> Signature:
    outputs = signature.outputs
    if signature.method_name == REGRESS:
        outputs = {name: replace(spec, shape=()) for name, spec in outputs.items()}
    return replace(signature, inputs=features or signature.inputs, outputs=outputs)


def _one_a_row(column: Array, name: str) -> Array:
    if column.size != len(column):
        raise FailedPreconditionError(
            f"output {name!r} of a regression has the shape {list(column.shape)}: "
            "it must be one number a row"
        )
    return column.reshape(-1)


def serialized_examples(columns: Columns) -> Array:
    """Return one serialized tf.Example a row, as a string column."""
    features = {name: list(_features_of(column)) for name, column in columns.items()}
    rows = len(next(iter(columns.values())))
    examples = np.empty(rows, object)
    for row in range(rows):
        example = Example()
        for name, column in features.items():
            example.features.feature[name].CopyFrom(column[row])
        examples[row] = example.SerializeToString()
    return examples


def _features_of(column: Array) -> Iterator[Feature]:
    for values in column.reshape(len(column), -1).tolist():
        if column.dtype.hasobject:
            yield Feature(bytes_list=BytesList(value=values))
        elif column.dtype.kind in "biu":
            yield Feature(int64_list=Int64List(value=values))
        else:
            yield Feature(float_list=FloatList(value=values))


def find_features(graph: tf.Graph, tensor_name: str) -> Features:
    """Return the features that the graph parses the examples of a tensor into; none if unseen."""
    seen, waiting = set(), [graph.get_tensor_by_name(tensor_name)]
    while waiting:
        tensor = waiting.pop()
        for operation in tensor.consumers():
            if operation.type in _PARSE_OPERATIONS:
                return _parsed_features(operation)
            if operation.type in _PASS_THROUGH and operation.name not in seen:
                seen.add(operation.name)
                waiting.extend(operation.outputs)
    return {}


def _parsed_features(operation: Any) -> Features:
    shapes = [_shape(shape) for shape in operation.get_attr("dense_shapes")]
    dense = zip(_keys(operation, "dense"), operation.get_attr("Tdense"), shapes, strict=True)
    features = {key: TensorSpec(_dtype(kind), shape) for key, kind, shape in dense}
    sparse_types = operation.get_attr("sparse_types")
    for key, kind in zip(_keys(operation, "sparse"), sparse_types, strict=True):
        features[key] = TensorSpec(_dtype(kind), (None,))
    if operation.type == "ParseExampleV2":
        ragged_types = operation.get_attr("ragged_value_types")
        for key, kind in zip(_keys(operation, "ragged"), ragged_types, strict=True):
            features[key] = TensorSpec(_dtype(kind), (None,))
    return dict(sorted(features.items()))


def _keys(operation: Any, kind: str) -> list[str]:
    """Return the features' names: one tensor of them in version 2, before one tensor each."""
    if operation.type == "ParseExampleV2":
        position = {"sparse": 2, "dense": 3, "ragged": 4}[kind]
        return [key.decode() for key in tf.get_static_value(operation.inputs[position]).tolist()]
    sparse, dense = operation.get_attr("Nsparse"), operation.get_attr("Ndense")
    start, count = (2, sparse) if kind == "sparse" else (2 + sparse, dense)
    keys = operation.inputs[start : start + count]
    return [tf.get_static_value(key).item().decode() for key in keys]


def _dtype(kind: Any) -> np.dtype[Any]:
    return to_dtype(tf.as_dtype(kind).as_datatype_enum)


def _shape(shape: Any) -> tuple[int | None, ...] | None:
    dims = tf.TensorShape(shape)
    return None if dims.rank is None else tuple(dims.as_list())
