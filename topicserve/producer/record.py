"""What a producer says about one record.

The class that users fill in. It checks nothing: `publish` does, and names the field at fault.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from enum import Enum
from typing import Any
from uuid import UUID

from numpy.typing import ArrayLike


class StoredElsewhere(Enum):
    """Metadata that this producer neither stores nor knows to be absent."""

    STORED_ELSEWHERE = "stored elsewhere"


STORED_ELSEWHERE = StoredElsewhere.STORED_ELSEWHERE
"""The record's metadata is in the store already, put there under its id by someone else."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """One record to publish: its rows in exactly one form, and what is known about it.

    `instance` is one row, `instances` a list of rows, `inputs` columns with their batch dimension
    (an object by input name, or the only input's list): TensorFlow Serving's REST bodies. Numbers,
    strings, bytes, lists and other iterables, objects, numpy arrays and columns of a data frame may
    stand in them. `tensors` are numpy arrays by input name with their batch dimension, sent as a
    protobuf PredictRequest: the form for large arrays. `body` is the value of the Kafka record as
    it is, of the `content_type` given: an image, audio, text, or a format of a body of your own.
    `dataref` is the URL at which a body of the `content_type` given lies: nothing is read or stored
    there, and only workers that allow it fetch it.

    A row that names its values (a data frame's row, a namedtuple, a row of a structured array) is
    refused rather than sent as a list without the names: give a dict, such as `row.to_dict()`.
    """

    instance: Any = None
    instances: Iterable[Any] | None = None
    inputs: Mapping[str, Any] | Iterable[Any] | None = None
    tensors: Mapping[str, ArrayLike] | None = None
    body: bytes | str | None = None
    content_type: str | None = None
    """Of `dataref`, or of `body`: None is `application/octet-stream`, or `text/plain` for a str."""
    dataref: str | None = None
    dataref_sha256: str | None = None
    """What that body hashes to, in hexadecimal digits; a worker refuses another one."""
    metadata: Mapping[str, Any] | StoredElsewhere | None = None
    """A JSON object; None declares that there is none, so that no worker looks for it."""
    record_id: str | UUID | None = None
    """None makes a new UUIDv7; other text may be up to 256 bytes long (see docs/wire_format.md)."""
    key: str | bytes | None = None
    """Order is kept among records of one key; None takes the record id."""
    servable: str | None = None
    """None takes the producer's."""
    version: int | None = None
    """None lets the worker choose: a canary, for its share of ids, or the default version."""
    label: str | None = None
    """A version's label; a version or a label, not both."""
    signature_name: str | None = None
    """None takes `serving_default`."""
    deadline: datetime | None = None
    """With its offset from UTC; past it the record becomes a dead letter, unpredicted.

    None, or pandas' NaT, for none.
    """
    traceparent: str | None = None
    """W3C trace context: it comes back on the result, as does `tracestate`."""
    tracestate: str | None = None
