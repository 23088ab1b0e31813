"""The interface that every servable kind implements: named numpy columns in, named columns out."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[np.generic]]
"""Named arrays with one leading batch dimension in common. Strings are dtype=object of bytes."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named input or output.

    `shape` is without the batch dimension: None is an unknown dimension; the whole is None where
    even the rank is unknown. Strings have dtype object (elements are bytes).
    """

    dtype: np.dtype[np.generic]
    shape: tuple[int | None, ...] | None = None


@dataclass(frozen=True, slots=True)
class FeatureSpec:
    """A feature that the graph parses out of a tf.Example. `shape` is a row's, as in TensorSpec."""

    dtype: np.dtype[np.generic]
    shape: tuple[int | None, ...] | None = None
    is_required: bool = False
    """Whether every row must have it: it has a fixed shape and no default."""


@dataclass(frozen=True, slots=True)
class Signature:
    """What one signature of a servable takes and gives."""

    inputs: Mapping[str, TensorSpec]
    outputs: Mapping[str, TensorSpec]
    method_name: str = "tensorflow/serving/predict"
    features: Mapping[str, FeatureSpec] | None = None
    """Set where the only input takes serialized tf.Examples: what they are parsed into. Empty where
    the parsing cannot be seen; then the features' dtypes are those of the values."""
    defaults: Mapping[str, NDArray[np.generic]] = field(default_factory=dict, compare=False)
    """What an input that is left out is fed with: one tensor for the whole call, as it is."""


class Servable(Protocol):
    """Something loaded that predicts. Any number of threads may call it at once."""

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Signatures by name; "serving_default" is the one taken where none is asked for."""

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        """Return output columns of as many rows as came in.

        Inputs have been brought to the signature's names and dtypes by the caller. Raises
        ServableError: with `retriable` true for a passing fault (a remote deadline), false where
        these inputs fail every time.
        """
