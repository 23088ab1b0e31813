"""Polled records and requests for tests of the stages."""

import itertools
import uuid
from typing import Any

import orjson
from msgspec.structs import replace

from topicserve.wire.bodies.codec import BodyCodec
from topicserve.wire.bodies.registry import Bodies
from topicserve.wire.headers import ServableSpec
from topicserve.wire.input_record import InputRecord
from topicserve.wire.json_codec.body import Form
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.request import Request, Route

PARTITION = TopicPartition("in", 0)
ROUTE = Route("digits", None, None, "serving_default")
_numbers = itertools.count()


class ManualClock:
    """A monotonic clock that stands still until it is moved."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self.now += seconds


def an_id(number: int) -> str:
    """Return a record id that is the same for the same number."""
    return str(uuid.UUID(int=number))


def a_kafka_record(offset: int = 0, instance: Any = 1.0, **changes: Any) -> KafkaRecord:
    """Return a well-formed input record of one row; `headers` replace those of their names."""
    given = changes.pop("headers", [])
    headers = [
        ("ce_specversion", b"1.0"),
        ("ce_type", b"topicserve.input"),
        ("ce_source", b"/tests"),
        ("ce_id", an_id(offset).encode()),
        ("content-type", b"application/json"),
    ]
    replaced = {name for name, _ in given}
    headers = [*(header for header in headers if header[0] not in replaced), *given]
    value = changes.pop("value", orjson.dumps({"instance": instance}))
    record = KafkaRecord("in", 0, offset, 1_700_000_000_000, b"key", value, headers)
    return replace(record, **changes)


def codec_of(form: Form) -> BodyCodec:
    """Return the codec of ours whose records have this form."""
    content_types = {Form.TENSORS: "application/x-protobuf", Form.ROW: "image/png"}
    return Bodies().find(content_types.get(form, "application/json"))


def a_request(
    instance: Any = 1.0,
    *,
    offset: int | None = None,
    assignment: PartitionAssignment | None = None,
    route: Route = ROUTE,
    rows: int = 1,
    form: Form = Form.INSTANCE,
    polled_at: float = 1000.0,
    size_bytes: int = 10,
    **changes: Any,
) -> Request:
    """Return a request; the content is a lone row's JSON unless another form is given."""
    offset = next(_numbers) if offset is None else offset
    content = b'{"instance":%b}' % orjson.dumps(instance) if form is Form.INSTANCE else instance
    return Request(
        a_kafka_record(offset),
        assignment or PartitionAssignment(PARTITION),
        size_bytes,
        polled_at,
        InputRecord(an_id(offset), ServableSpec(), form, content, rows, codec_of(form), **changes),
        route,
    )
