"""The interface that every servable kind implements: named numpy columns in, named columns out.

The contract between a kind and everything that calls it: the worker's stages, pipelines and
warm-up. It imports numpy alone, so a kind of your own needs nothing else.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

Columns = Mapping[str, NDArray[np.generic]]
"""Named arrays. Those with rows share one leading batch dimension (see `Scope`). Strings are
dtype=object of bytes."""


class Scope(Enum):
    """To what an input or output belongs, which decides which records may share a call."""

    ROW = "row"
    """One value a row: the tensor has a leading batch dimension."""
    CALL = "call"
    """One value for all rows of a call. Records share a call only where such inputs are equal. As
    an output it does not depend on any row: class names, or what follows from call inputs alone."""
    BATCH = "batch"
    """An output for the whole call that may be computed from its rows, such as a mean."""
    UNKNOWN = "unknown"
    """Rows or not: it cannot be told before the call."""


@dataclass(frozen=True, slots=True)
class TensorSpec:
    """A named input or output.

    `shape` is that of one row for Scope.ROW, without the batch dimension, and else of the whole
    tensor: None is an unknown dimension; the whole is None where even the rank is unknown. Strings
    have dtype object (elements are bytes).
    """

    dtype: np.dtype[np.generic]
    shape: tuple[int | None, ...] | None = None
    scope: Scope = Scope.ROW


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
    rows_are_independent: bool = field(default=False, compare=False)
    """Whether it is known, and not only declared, that no row changes another one's outputs: by the
    kind, or because the owner of a model vouches for it."""
    parts: tuple[int, ...] = field(default=(), repr=False, compare=False)
    """Tells the servables that this one is made of at this moment from others, where it is."""
    declared_row_shapes: Mapping[str, tuple[int, ...]] = field(default_factory=dict, compare=False)
    """Outputs that are given as one number a row, with the shape of a row that the model declares:
    a PredictResponse has them in that shape."""
    is_called_alone: bool = False
    """Whether each record needs a call of its own although every scope is known: one row's value
    goes into another row's answer, as where a pipeline's step is fed with a mean over the batch."""
    joins_records: bool = field(init=False, repr=False, compare=False)
    """Whether several records may share a call: some input has rows, nothing is of the whole batch
    or unknown, and `is_called_alone` is false. Otherwise each record has a call of its own."""
    has_untold_outputs: bool = field(init=False, repr=False, compare=False)
    """Whether it cannot be told of some output, before a call, if it has rows."""
    takes_only_rows: bool = field(init=False, repr=False, compare=False)
    """Whether every input has rows, and records may share a call."""

    def __post_init__(self) -> None:
        inputs = [spec.scope for spec in self.inputs.values()]
        outputs = [spec.scope for spec in self.outputs.values()]
        scopes = {*inputs, *outputs}
        is_known = Scope.UNKNOWN not in scopes and Scope.BATCH not in scopes
        joins = Scope.ROW in inputs and is_known and not self.is_called_alone
        object.__setattr__(self, "joins_records", joins)
        object.__setattr__(self, "has_untold_outputs", Scope.UNKNOWN in outputs)
        object.__setattr__(self, "takes_only_rows", joins and Scope.CALL not in inputs)

    def with_outputs(self, names: Collection[str]) -> "Signature":
        """Return the signature with these outputs alone, all of which it must have."""
        return replace(self, outputs={name: self.outputs[name] for name in names})


class Servable(Protocol):
    """Something loaded that predicts.

    Any number of threads may call it at once, so what it changes in `predict` needs a lock of its
    own. It is called from its loader's `load` to its `unload` and never after. The inputs' arrays
    may be views of a caller's buffers: they must not be changed, nor kept after the call.
    """

    @property
    def signatures(self) -> Mapping[str, Signature]:
        """Signatures by name; "serving_default" is the one taken where none is asked for."""

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        """Return the outputs: those of Scope.ROW with as many rows as came in.

        Inputs have been brought to the signature's names, dtypes and scopes by the caller. Raises
        ServableError: with `retriable` true for a passing fault (a remote deadline), false where
        these inputs fail every time.

        What it returns is copied before the same thread calls again, as it may be a buffer that
        every call of a thread writes to. A class whose arrays are new ones each time says so
        with the attribute `returns_new_arrays = True`, and nothing is copied.
        """


@runtime_checkable
class CostlyServable(Servable, Protocol):
    """A servable of which some rows take far more time or memory than others, as images do.

    Without this, a batch has as many rows as the configuration allows, whatever they take.
    """

    def row_costs(self, inputs: Columns, signature_name: str) -> NDArray[np.float64] | None:
        """Return for each row how much of a call it takes, or None where rows are as usual.

        The worker calls `predict` with rows that come to 1.0 together, or with one record alone,
        whose rows may come to 4.0. So 1.0 is what takes a second or two, or some hundred megabytes.
        It must be quick, and changes nothing.
        """


@runtime_checkable
class SelectiveServable(Servable, Protocol):
    """A servable that can compute some of its outputs alone. A kind need not be able to.

    The worker calls it for records whose `output_filter` names some of the outputs.
    """

    def predict_outputs(
        self, inputs: Columns, signature_name: str, outputs: Collection[str]
    ) -> Columns:
        """Return these outputs of the signature; else like `predict`.

        What is not asked for is not computed, or at least cannot make the call fail.
        """
