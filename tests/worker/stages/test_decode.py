import sys
import tracemalloc
import weakref
from typing import Any

import orjson
import pytest
from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from tests.support.stages.heavy_open_inference import OPEN_INFERENCE
from tests.support.stages.heavy_records import HEAVY, Heavy
from tests.support.stages.records import PARTITION, a_kafka_record
from topicserve.protos.predict_pb2 import PredictRequest
from topicserve.wire.dead_letter import Reason
from topicserve.wire.headers import headers_bytes
from topicserve.wire.json_codec.text import LARGE_BYTES
from topicserve.wire.kafka_record import KafkaRecord, UnreadableHeaders
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.calls.feeds import build_feeds
from topicserve.worker.stages.decode import OVERHEAD_BYTES, Decoder
from topicserve.worker.stages.routing import Router
from topicserve.worker.telemetry.metrics import WorkerMetrics


def a_decoder() -> Decoder:
    """Return a decoder of a worker that serves digits."""
    metrics = WorkerMetrics(CollectorRegistry())
    return Decoder(Router([], lambda: ["digits"], "", metrics))


def test_each_record_is_judged_alone() -> None:
    """Good ones become requests, the others say why not; all keep their account."""
    assignment = PartitionAssignment(PARTITION)
    records = [
        a_kafka_record(1),
        a_kafka_record(2, value=b"{"),
        a_kafka_record(3, headers=[("ce_servable", b"words")]),
        a_kafka_record(4),
    ]

    requests, rejections = a_decoder().decode(records, [assignment] * 4, 7.0)

    assert [request.record.offset for request in requests] == [1, 4]
    assert requests[0].route.servable == "digits"
    assert (requests[0].assignment, requests[0].polled_at) == (assignment, 7.0)
    size = OVERHEAD_BYTES + len(records[0].value or b"") + 3 + headers_bytes(records[0].headers)
    assert requests[0].size_bytes == size
    assert [(r.polled.record.offset, r.reason) for r in rejections] == [
        (2, Reason.INVALID_RECORD),
        (3, Reason.UNKNOWN_SERVABLE),
    ]


def test_what_the_client_could_not_read_is_rejected_with_what_it_could() -> None:
    """One record for its header names, or a batch: its offsets are in the message."""
    names = UnreadableHeaders("a header name is not UTF-8", [("good", b"1")])
    batch = UnreadableHeaders("offsets 2 to 9 of in-0 cannot be read", first_offset=2)
    large = UnreadableHeaders("decompresses to more", first_offset=10, is_too_large=True)
    records = [
        replace(a_kafka_record(1), headers=names),
        replace(a_kafka_record(9), headers=batch, value=None),
        replace(a_kafka_record(12), headers=large, value=None),
        a_kafka_record(13),
    ]

    requests, rejections = a_decoder().decode(records, [PartitionAssignment(PARTITION)] * 4, 0.0)

    assert [request.record.offset for request in requests] == [13]
    assert [(r.polled.record.offset, r.reason) for r in rejections] == [
        (1, Reason.INVALID_RECORD),
        (9, Reason.CORRUPT_BATCH),
        (12, Reason.BATCH_TOO_LARGE),
    ]
    assert rejections[0].polled.record.headers == [("good", b"1")]
    assert "offsets 2 to 9 of in-0" in str(rejections[1].error)


def test_records_of_others_are_left_out() -> None:
    """Their partitions were taken away in the very poll that returned them."""
    assert a_decoder().decode([a_kafka_record(1)], [None], 0.0) == ([], [])


def test_a_rejection_does_not_keep_what_was_polled_with_it() -> None:
    """A traceback would: it holds the stage's frame, and that holds the rejection, in a cycle."""

    class Watched(list[tuple[str, bytes | None]]):
        """Headers that tell when they are gone."""

    good = a_kafka_record(2)
    records = [a_kafka_record(1, value=b"{"), replace(good, headers=Watched(good.headers))]
    headers = weakref.ref(records[1].headers)

    requests, rejections = a_decoder().decode(records, [PartitionAssignment(PARTITION)] * 2, 0.0)
    del requests, rejections, records

    assert headers() is None


@pytest.mark.parametrize(
    "tree",
    [
        {"instances": [{}, [0] * 5000]},
        {"instances": [None, [0.5] * 4000]},
        {"instances": ["", *[[]] * 5000]},
        {"instances": [{"x": ""}, *({"x": n} for n in range(300, 1800))]},
        {"instances": [f"a{n}" for n in range(1500)]},
        {"instances": ["\u0101", "\U0001f600" + "a" * 40] * 150},
        {"inputs": {"x": [[1.5, 2.5]] * 1500, "y": 1}},
    ],
    ids=lambda tree: str(tree)[:30],
)
def test_a_tree_that_waits_counts_as_it_lies_in_memory(tree: Any) -> None:
    """Not less than what is held, and not much more: numbers take many times their text."""
    request, held = decoded(a_kafka_record(1, value=orjson.dumps(tree)))

    assert not request.input.is_undecoded
    assert held * 0.9 < request.size_bytes < held * 7


@pytest.mark.parametrize(
    "tree",
    [
        {"instances": [[0.5] * 64] * 32},
        {"instances": [{"x": [0.5] * 64}] * 32},
        {"inputs": [7] * 32},
        {"inputs": {"x": [[[1], [2]]] * 32}},
    ],
)
def test_rows_of_numbers_wait_as_their_text(tree: Any) -> None:
    """How many there are is known, and what their columns will take is counted."""
    record = a_kafka_record(1, value=orjson.dumps(tree))
    request, held = decoded(record)

    assert request.input.rows == 32
    assert request.input.is_undecoded
    assert held < 1.1 * len(record.value or b"") + 1000
    assert request.size_bytes > len(record.value or b"") + 8 * str(tree).count(",")


HEAVY_BYTES = 2 * LARGE_BYTES
HEAVY_JSON = [name for name in HEAVY if not name.startswith("protobuf")]
HEAVY_UNREAD = [*HEAVY_JSON, *OPEN_INFERENCE]
HEAVY_TENSORS = [name for name in HEAVY if name.startswith("protobuf")]


@pytest.mark.slow
@pytest.mark.parametrize("name", HEAVY_UNREAD)
def test_a_large_body_waits_as_its_text_alone(name: str) -> None:
    """Whatever its tree would take; and what is counted covers the columns that are made of it."""
    heavy = {**HEAVY, **OPEN_INFERENCE}[name](HEAVY_BYTES)
    record = a_heavy_record(heavy)
    found, held = decoded(record)
    if found is None:
        return  # rejected, and nothing is kept of it

    build_feeds([found], heavy.signature)  # what the first record of its form imports
    tracemalloc.start()
    feeds, _ = build_feeds([found], heavy.signature)
    columns, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 1.1 * len(heavy.value)
    assert (columns if feeds else 0) * 0.9 < found.size_bytes
    assert found.size_bytes < 60 * len(heavy.value)


@pytest.mark.parametrize("name", HEAVY_TENSORS)
def test_tensors_that_wait_take_a_few_times_their_message(name: str) -> None:
    """Those that take more are read again when their batch is built."""
    heavy = HEAVY[name](HEAVY_BYTES)
    found, held = decoded(a_heavy_record(heavy))

    assert held < 5 * len(heavy.value)
    assert found is None or held * 0.9 < found.size_bytes


def dumped(tree: Any) -> bytes:
    """Return JSON as Python's json writes it where it may: without escapes."""
    return orjson.dumps(tree)


def a_heavy_record(heavy: Heavy) -> KafkaRecord:
    """Return it as it is polled."""
    content_type = [("content-type", heavy.content_type.encode())]
    return a_kafka_record(1, value=heavy.value, headers=content_type)


def decoded(record: KafkaRecord) -> tuple[Any, int]:
    """Return the request (None where it was rejected), and what is held because of it."""
    decoder, assignment = a_decoder(), PartitionAssignment(PARTITION)
    a_decoder().decode([record], [assignment], 7.0)  # what its content type imports
    decoder.decode([a_kafka_record(0)], [assignment], 7.0)  # what is remembered of any record
    tracemalloc.start()
    requests, _ = decoder.decode([record], [assignment], 7.0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    return (requests[0] if requests else None), held


def test_headers_count_as_they_lie_in_memory() -> None:
    """Of requests and of rejected records alike."""
    headers = [(f"h{n}", b"v" * (n % 200)) for n in range(900)]
    records = [a_kafka_record(1, headers=headers), a_kafka_record(2, headers=headers, value=b"{")]
    headers_size = sum(
        sys.getsizeof(header) + sys.getsizeof(header[0]) + sys.getsizeof(header[1])
        for header in records[0].headers
    )

    (request,), (rejection,) = a_decoder().decode(
        records, [PartitionAssignment(PARTITION)] * 2, 7.0
    )

    assert headers_size * 0.9 < request.size_bytes < headers_size * 1.5
    assert headers_size * 0.9 < rejection.polled.size_bytes < headers_size * 1.5


def test_a_folded_tensor_counts_what_it_unfolds_to() -> None:
    """Though it takes a few bytes until its batch is built."""
    message = PredictRequest()
    tensor = message.inputs["x"]
    tensor.dtype = 1  # type: ignore[assignment]  # DT_FLOAT
    tensor.float_val.append(1.0)
    for size in (1, 4_000_000):
        tensor.tensor_shape.dim.add(size=size)
    content_type = [("content-type", b"application/x-protobuf")]
    record = a_kafka_record(1, value=message.SerializeToString(), headers=content_type)

    tracemalloc.start()
    (request,), _ = a_decoder().decode([record], [PartitionAssignment(PARTITION)], 7.0)
    held, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()

    assert held < 500_000
    assert 16_000_000 < request.size_bytes < 16_100_000
    assert request.input.payload["x"].nbytes == 16_000_000
