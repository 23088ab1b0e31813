"""One signature, bound to a session: columns in, columns out."""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.errors import InvalidArgumentError, UnimplementedError
from topicserve.servables.predict_checks import check_rows, shape_fits, shape_text
from topicserve.servables.saved_model.runtime import Session, tf, translate
from topicserve.servables.servable import Columns, Signature
from topicserve.servables.signature_def import is_scalar, read_signature

Array = NDArray[Any]


class SignatureCall(Protocol):
    """Predicts by one signature. Any number of threads may call it at once."""

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""

    def predict(self, inputs: Columns) -> Columns:
        """Return as many rows as came in, or raise ServableError."""


class TensorCall:
    """Feeds the signature's tensors with the columns of their names.

    An input that is declared to hold one value for the whole batch, as a keep rate does, comes as a
    column like all others, and every row must say the same.

    Raises UnimplementedError where the signature is not about plain tensors with rows, and
    InvalidArgumentError where it names a tensor that the graph does not have.
    """

    def __init__(self, session: Session, signature_def: Any) -> None:
        self.signature = read_signature(signature_def)
        self._inputs = list(self.signature.inputs)
        self._outputs = list(self.signature.outputs)
        infos = [signature_def.inputs[name] for name in self._inputs]
        self._scalars = [index for index, info in enumerate(infos) if is_scalar(info)]
        if len(self._scalars) == len(infos) or not self._outputs:
            raise UnimplementedError("it has no input with rows, or no output")
        outputs = [signature_def.outputs[name].name for name in self._outputs]
        self._call = session.bind([info.name for info in infos], outputs)

    def predict(self, inputs: Columns) -> Columns:
        """Return as many rows as came in."""
        feeds = self._feeds(inputs)
        # TensorFlow compares dtypes, but runs on a wrong number of features where the graph allows.
        for name, column in zip(self._inputs, feeds, strict=True):
            if name in inputs:
                _check_shape(name, column, self.signature.inputs[name].shape)
        for index in self._scalars:
            if self._inputs[index] in inputs:
                feeds[index] = _one_value(feeds[index], self._inputs[index])
        outputs = self._run(feeds)
        columns = dict(zip(self._outputs, outputs, strict=True))
        # Without any input, the rows are those of the defaults: the caller knows how many it wants.
        if inputs:
            check_rows(columns, len(next(iter(inputs.values()))))
        return columns

    def run(self, tensors: Columns) -> dict[str, Array]:
        """Return what the model gives for these tensors, whatever their rows."""
        return dict(zip(self._outputs, self._run(self._feeds(tensors)), strict=True))

    def _feeds(self, inputs: Columns) -> list[Array]:
        defaults = self.signature.defaults
        try:
            return [inputs[name] if name in inputs else defaults[name] for name in self._inputs]
        except KeyError as error:
            raise InvalidArgumentError(f"input {error} is missing") from None

    def _run(self, feeds: Sequence[Array]) -> list[Array]:
        try:
            return self._call(*feeds)
        except tf.errors.OpError as error:
            raise translate(error) from error


def _check_shape(name: str, column: Array, declared: tuple[int | None, ...] | None) -> None:
    found = column.shape[1:]
    if declared is None or found == declared:
        return
    if not shape_fits(found, declared):
        raise InvalidArgumentError(
            f"input {name!r}: a row must have the shape {shape_text(declared)}, "
            f"found {shape_text(found)}"
        )


def _one_value(column: Array, name: str) -> Array:
    if any(value != column[0] for value in column[1:]):
        raise InvalidArgumentError(f"input {name!r} must be the same in all rows of a call")
    return np.asarray(column[0], column.dtype)
