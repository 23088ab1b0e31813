"""Input records: CloudEvents 1.0 headers (binary mode) over bodies of any content type.

It reads and checks one record; it knows no model. What a body's values mean for a signature is
decided when the batch's columns are built.
"""

from datetime import datetime
from typing import Any

import msgspec

from topicserve.wire.bodies.codec import BodyCodec
from topicserve.wire.bodies.registry import SHIPPED_BODIES, Bodies
from topicserve.wire.bodies.value_rows import ValueRows
from topicserve.wire.headers import HeaderReader, ServableSpec
from topicserve.wire.json_codec.body import Form
from topicserve.wire.json_codec.number_rows import NumberRows
from topicserve.wire.kafka_record import KafkaRecord
from topicserve.wire.limits import DEFAULT_LIMITS, Limits
from topicserve.wire.tensor_layouts.requests import RequestLayout, RequestLayouts


class InputRecord(msgspec.Struct, frozen=True, gc=False):
    """What one record asks for.

    `content` is as its codec has left it, decoded or not, which `form` tells: undecoded JSON for
    Form.INSTANCE (see `lone_row`), a tree for the other JSON forms, the value itself for Form.ROW
    and Form.CUSTOM, and for Form.TENSORS the whole message where its `layout` is known, else numpy
    arrays by input name, folded where they repeat a value. Content that is large, or takes many
    times its text in memory, is the body itself as Raw (`is_undecoded`).
    `rows` is how many rows it has: exact for the row formats where rows are alike, and else an
    estimate, since the signature says which inputs have rows.
    """

    record_id: str
    target: ServableSpec
    form: Form
    content: Any
    rows: int
    codec: BodyCodec
    """What read it, and writes its result."""
    deadline: datetime | None = None
    metadata_absent: bool = False
    trace: tuple[tuple[str, bytes | None], ...] = ()
    output_filter: tuple[str, ...] = ()
    """The outputs that are wanted, where the body says so; empty means all."""
    held_bytes: int = 0
    """About how much memory the headers and the decoded content take, once it is unfolded."""
    limits: Limits = DEFAULT_LIMITS
    layout: RequestLayout | NumberRows | ValueRows | None = None
    """Where `content`, then the whole body, holds its values; what is between may be no JSON."""

    @property
    def is_undecoded(self) -> bool:
        """Return whether the content is the body itself, decoded each time that it is asked for."""
        return type(self.content) is msgspec.Raw

    @property
    def payload(self) -> Any:
        """Return the content decoded, or raise InvalidRecordError naming the place at fault."""
        return self.codec.payload(self)


class InputReader:
    """Reads input records within limits, and remembers what they repeat.

    One thread uses it at a time.
    """

    def __init__(
        self,
        limits: Limits = DEFAULT_LIMITS,
        bodies: Bodies | None = None,
        *,
        defers_asking: bool = False,
    ) -> None:
        """`defers_asking` leaves it to the caller to ask bodies of a user's own: see `Unasked`."""
        self.limits = limits
        self.defers_asking = defers_asking
        self.read_headers = HeaderReader((bodies or SHIPPED_BODIES).find, limits).read
        self.layouts = RequestLayouts()


def decode_input(record: KafkaRecord, reader: InputReader | None = None) -> InputRecord:
    """Return what a record asks for, or raise InvalidRecordError with the field at fault.

    The content may not yet be looked at: `payload` does, or what reads many at once. Who decodes
    many gives a `reader`.
    """
    reader = reader or InputReader()
    headers = reader.read_headers(record.headers)
    return headers[1].codec.decode(headers, record.value, reader)
