"""Classify and regress signatures: rows of features become tf.Examples.

Such a signature takes one string tensor of serialized tf.Examples, which the graph parses itself.
The features that it looks for stand in the graph, so that a record is a row of plain features,
`{"age": 31.0, "country": "fr"}`, as in TF Serving's classify and regress calls.

Answers are TF Serving's: `classes` and `scores` [rows, classes] of a classification, and one
number a row of a regression, also where the model gives [rows, 1]; a PredictRequest is answered
with what the model gives, as TF Serving's Predict does (`Signature.declared_row_shapes`).
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

from numpy.typing import NDArray

from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.kinds.example_rows import examples_of_columns
from topicserve.servables.kinds.saved_model.signature_call import SignatureCall
from topicserve.servables.kinds.servable import Columns, FeatureSpec, Scope, Signature
from topicserve.servables.kinds.signature_def import REGRESS

Array = NDArray[Any]


class ExampleCall:
    """Calls the signature with one tf.Example a row, built from columns of features if need be."""

    def __init__(self, call: SignatureCall, features: Mapping[str, FeatureSpec]) -> None:
        self._call = call
        (self._input,) = call.signature.inputs
        self._is_regression = call.signature.method_name == REGRESS
        self.signature = _as_answered(call.signature, features)

    def predict(self, inputs: Columns, outputs: Collection[str] | None = None) -> Columns:
        """Return as many rows as came in."""
        if inputs.keys() != {self._input}:
            inputs = examples_of_columns(inputs, self.signature)
        columns = self._call.predict(inputs, outputs)
        if not self._is_regression:
            return columns
        specs = self.signature.outputs
        return {
            name: _one_a_row(column, name) if specs[name].scope is Scope.ROW else column
            for name, column in columns.items()
        }


def _as_answered(signature: Signature, features: Mapping[str, FeatureSpec]) -> Signature:
    if signature.method_name != REGRESS:
        return replace(signature, features=features)
    by_row = {n: spec for n, spec in signature.outputs.items() if spec.scope is Scope.ROW}
    # One number a row leaves dimensions of 1 alone.
    shapes = {n: (1,) * len(spec.shape) for n, spec in by_row.items() if spec.shape}
    outputs = {**signature.outputs, **{n: replace(spec, shape=()) for n, spec in by_row.items()}}
    return replace(signature, outputs=outputs, features=features, declared_row_shapes=shapes)


def _one_a_row(column: Array, name: str) -> Array:
    if column.size != len(column):
        raise FailedPreconditionError(
            f"output {name!r} of a regression has the shape {list(column.shape)}: "
            "it must be one number a row"
        )
    return column.reshape(-1)
