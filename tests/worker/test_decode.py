import weakref

from msgspec.structs import replace
from prometheus_client import CollectorRegistry

from tests.support.records import PARTITION, a_kafka_record
from topicserve.wire.dead_letter import Reason
from topicserve.worker.decode import OVERHEAD_BYTES, Decoder
from topicserve.worker.metrics import WorkerMetrics
from topicserve.worker.offsets import Slot
from topicserve.worker.routing import Router


def a_decoder() -> Decoder:
    """Return a decoder of a worker that serves digits."""
    metrics = WorkerMetrics(CollectorRegistry())
    return Decoder(Router([], lambda: ["digits"], "", metrics))


def test_each_record_is_judged_alone() -> None:
    """Good ones become requests, the others say why not; all keep their account."""
    slot = Slot(PARTITION)
    records = [
        a_kafka_record(1),
        a_kafka_record(2, value=b"{"),
        a_kafka_record(3, headers=[("ce_servable", b"words")]),
        a_kafka_record(4),
    ]

    requests, rejections = a_decoder().decode(records, [slot] * 4, 7.0)

    assert [request.record.offset for request in requests] == [1, 4]
    assert requests[0].route.servable == "digits"
    assert (requests[0].slot, requests[0].polled_at) == (slot, 7.0)
    assert requests[0].size_bytes == OVERHEAD_BYTES + len(records[0].value or b"") + 3
    assert [(r.polled.record.offset, r.reason) for r in rejections] == [
        (2, Reason.INVALID_RECORD),
        (3, Reason.UNKNOWN_SERVABLE),
    ]


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

    requests, rejections = a_decoder().decode(records, [Slot(PARTITION)] * 2, 0.0)
    del requests, rejections, records

    assert headers() is None
