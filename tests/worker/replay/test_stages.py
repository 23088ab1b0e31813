from prometheus_client import CollectorRegistry

from tests.support.references.scripted_store import BODY, PREFIX
from tests.support.stages.records import PARTITION, a_kafka_record
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.replay.stages import ReplayDecoder
from topicserve.worker.stages.decode import Decoder
from topicserve.worker.stages.request import Request
from topicserve.worker.stages.routing import Router
from topicserve.worker.telemetry.metrics import WorkerMetrics


def test_a_replay_reads_fetched_bodies_as_of_today() -> None:
    """Before and after the fetch: no deadline holds, and the replay's version answers."""
    router = Router((), lambda: ("digits",), "", WorkerMetrics(CollectorRegistry()))
    decoder = ReplayDecoder(Decoder(router, fetches=True), version_is_given=True)
    past = [
        ("ce_dataref", f"{PREFIX}/1".encode()),
        ("ce_expirytime", b"2001-01-01T00:00:00Z"),
        ("ce_servableversion", b"3"),
    ]
    record = a_kafka_record(value=None, headers=past)

    (request,), rejections = decoder.decode([record], [PartitionAssignment(PARTITION)], 1.0)
    fetched = decoder.decode_body(request, BODY)
    refused = decoder.decode_body(request, b"{")

    assert rejections == []
    assert request.reference is not None
    assert request.input.deadline is None
    assert isinstance(fetched, Request)
    assert (fetched.input.deadline, fetched.route.version) == (None, None)
    assert not isinstance(refused, Request)
