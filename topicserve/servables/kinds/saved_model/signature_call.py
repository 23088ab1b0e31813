"""One signature, bound to a session: columns in, columns out."""

from collections.abc import Callable, Collection, Mapping, Sequence
from functools import lru_cache
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.core.errors import InvalidArgumentError, UnimplementedError
from topicserve.servables.kinds.predict_checks import check_rows, check_shape, rows_of
from topicserve.servables.kinds.saved_model.graph.dataflow import tensor_of
from topicserve.servables.kinds.saved_model.runtime import Session, tf, translate
from topicserve.servables.kinds.servable import Columns, Signature

Array = NDArray[Any]

# Records choose their outputs: what a session keeps for the choices must have a bound.
MAX_CHOICES_OF_OUTPUTS = 16


class SignatureCall(Protocol):
    """Predicts by one signature. Any number of threads may call it at once."""

    @property
    def signature(self) -> Signature:
        """What it takes and gives."""

    def predict(self, inputs: Columns, outputs: Collection[str] | None = None) -> Columns:
        """Return the outputs asked for, by default all, or raise ServableError."""


class TensorCall:
    """Feeds the signature's tensors with the columns of their names.

    Without inputs it is called with none. Raises UnimplementedError where it has no output, and
    InvalidArgumentError where it names a tensor that the graph does not have.
    """

    def __init__(self, session: Session, signature_def: Any, signature: Signature) -> None:
        self.signature = signature
        self._inputs = list(signature.inputs)
        self._outputs = list(signature.outputs)
        if not self._outputs:
            raise UnimplementedError("it has no output")
        feeds = [signature_def.inputs[name].name for name in self._inputs]
        fetches = {name: signature_def.outputs[name].name for name in self._outputs}
        tensors = _unfed(session, feeds, fetches)

        def bind(outputs: frozenset[str]) -> Callable[..., list[Array]]:
            return session.bind(feeds, [tensors[name] for name in sorted(outputs)])

        self._call = session.bind(feeds, list(tensors.values()))
        self._call_for = lru_cache(MAX_CHOICES_OF_OUTPUTS)(bind)

    def predict(self, inputs: Columns, outputs: Collection[str] | None = None) -> Columns:
        """Return the outputs; those with rows have as many as came in."""
        feeds = self._feeds(inputs)
        specs = self.signature.inputs
        for name, column in inputs.items():
            if name in specs:
                check_shape(column, specs[name], name)
        rows = rows_of(inputs, specs)
        columns = self._run(feeds, outputs)
        if rows is not None:
            check_rows(columns, rows, self.signature.outputs)
        return columns

    def run(self, tensors: Columns) -> dict[str, Array]:
        """Return what the model gives for these tensors, whatever their rows."""
        return self._run(self._feeds(tensors), None)

    def _feeds(self, inputs: Columns) -> list[Array]:
        defaults = self.signature.defaults
        try:
            return [inputs[name] if name in inputs else defaults[name] for name in self._inputs]
        except KeyError as error:
            raise InvalidArgumentError(f"input {error} is missing") from None

    def _run(self, feeds: Sequence[Array], outputs: Collection[str] | None) -> dict[str, Array]:
        try:
            if outputs is None or len(outputs) == len(self._outputs):
                names, found = self._outputs, self._call(*feeds)
            else:
                names, found = sorted(outputs), self._call_for(frozenset(outputs))(*feeds)
        except tf.errors.OpError as error:
            raise translate(error) from error
        return {name: _array(value) for name, value in zip(names, found, strict=True)}


def _unfed(session: Session, feeds: Sequence[str], fetches: Mapping[str, str]) -> dict[str, str]:
    """Return the fetches, with a copy in place of a tensor that is fed.

    TensorFlow's runtime refuses to fetch what it is fed with; `Session.run` of Python returns it.
    """
    fed = {tensor_of(name) for name in feeds}
    return {
        name: session.copy_of(tensor) if tensor_of(tensor) in fed else tensor
        for name, tensor in fetches.items()
    }


def _array(value: Any) -> Array:
    """Return an array also for a scalar, which TensorFlow gives as numpy's or Python's."""
    if isinstance(value, np.ndarray):
        return value
    return np.asarray(value, object if isinstance(value, bytes) else None)
