"""Servables that declare rows, and answer each by what else is in the call."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.kinds.servable import Columns, Scope, Signature, TensorSpec

Array = NDArray[Any]
Compute = Callable[[Array], Array]
_NUMBER, _TEXT = TensorSpec(np.dtype(np.float32), ()), TensorSpec(np.dtype(object), ())


def minus_mean(x: Array) -> Array:
    """Take the mean of the call from each row."""
    return np.asarray(x - x.mean(axis=0, dtype=np.float32))


def softmax(x: Array) -> Array:
    """Share 1 among the rows."""
    powers = np.exp(x / 10)
    return np.asarray(powers / powers.sum(), np.float32)


def ranks(x: Array) -> Array:
    """Sort all rows."""
    return np.sort(x)


def row_numbers(x: Array) -> Array:
    """Give each row its number."""
    return np.arange(len(x), dtype=np.float32)


def mean_of_padded(x: Array) -> Array:
    """Pad each text to the longest one, and take the mean over it, as Keras layers do."""
    longest = max((len(text) for text in x), default=0)
    return np.array([text.count(b"a") / max(longest, 1) for text in x], np.float32)


def flat_words(x: Array) -> Array:
    """Split all texts into one list of words: as many as the rows by chance."""
    words = [word for text in x for word in text.split()]
    return np.array(words, object)


NUMBERS: dict[str, Compute] = {
    compute.__name__: compute for compute in (minus_mean, softmax, ranks, row_numbers)
}
TEXTS: dict[str, Compute] = {compute.__name__: compute for compute in (mean_of_padded, flat_words)}


class Computing:
    """Answers with what a function makes of the column `x`. Notes the sizes of its calls."""

    def __init__(self, compute: Compute, **changes: Any) -> None:
        takes = _TEXT if compute.__name__ in TEXTS else _NUMBER
        gives = _TEXT if compute is flat_words else _NUMBER
        signature = Signature({"x": takes}, {"y": gives})
        self.signatures = {"serving_default": replace(signature, **changes)}
        self.sizes: list[int] = []
        self._compute = compute

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        assert self.signatures[signature_name].inputs["x"].scope is Scope.ROW
        self.sizes.append(len(inputs["x"]))
        return {"y": self._compute(inputs["x"])}
