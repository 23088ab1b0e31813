"""What a body of a user's own is: values read into rows or arrays, results written as values.

The contract between such a body and the worker; `docs/custom_body.md` walks through one.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from topicserve.wire.bodies.asked import Asked
from topicserve.wire.result import MetadataStatus


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyContent:
    """What the value of a record holds, in exactly one form.

    The first three are the forms of TensorFlow Serving's REST call, and are checked against the
    signature as JSON is: numbers, strings, bytes, booleans, lists, objects (dicts) and arrays may
    stand in them.
    """

    instance: Any = None
    """One row: a value, or an object by input name."""
    instances: Sequence[Any] | None = None
    """Rows."""
    inputs: Any = None
    """Columns with their batch dimension, by input name, or the only input's list."""
    tensors: Mapping[str, NDArray[Any]] | None = None
    """Arrays by input name with their batch dimension, of the dtypes that the signature declares.

    Strings are dtype object of bytes. The form for large arrays.
    """


@dataclass(frozen=True, slots=True, kw_only=True)
class BodyAnswer:
    """What a record is answered."""

    record_id: str
    servable: str
    version: int
    """The version that answered."""
    signature_name: str
    outputs: Mapping[str, NDArray[Any]]
    """The outputs that the record asked for, read only. Those with rows have the record's own."""
    rows: int
    """How many rows the record has."""
    whole: frozenset[str]
    """Which outputs have no rows, and belong to the whole call."""
    metadata: bytes | None
    """The record's metadata, a JSON object; None unless it was found."""
    metadata_status: MetadataStatus
    worker_id: str
    request: bytes
    """The value of the record, as it came."""


class Body(Protocol):
    """Reads the values of records of some content types, and writes those of their results.

    One object serves all threads of a worker. What a method raises, or returns that it should not,
    rejects the record that it was called for, and no other.
    """

    @property
    def content_types(self) -> Sequence[str]:
        """The content types that it reads, such as `application/msgpack`; `image/*` is all of them.

        An exact one has precedence, and so does a body that the configuration names over ours.
        """

    def read(self, value: bytes, parameters: Mapping[str, str]) -> BodyContent:
        """Return what a value holds. `parameters` are the content type's, such as `charset`.

        On a batch thread, each time that the record is predicted, and always with the same answer.
        Raises InvalidRecordError naming the field at fault; of anything else that it raises the
        dead letter has the text.
        """

    def write(self, answer: BodyAnswer) -> bytes:
        """Return the value of a record's result. On a batch thread."""


@runtime_checkable
class RoutingBody(Body, Protocol):
    """A body that names a servable, a signature or outputs. Others leave that to the headers."""

    def asks(self, value: bytes, parameters: Mapping[str, str]) -> Asked:
        """Return what a value says beside its content. The headers stand for the rest.

        On a thread for which the one that polls waits, and reads no other record meanwhile: it
        must be quick.
        """


FLOATS_AND_INTEGERS = frozenset("biufc")
"""The kinds of dtypes that tensors may have, besides those of strings."""

STRINGS = np.dtype(object)
