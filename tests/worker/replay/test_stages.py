import pytest
from prometheus_client import CollectorRegistry

from tests.support.references.scripted_store import BODY, PREFIX
from tests.support.stages.bodies import CUSTOM, AnyRoutingBody, bodies_with
from tests.support.stages.records import PARTITION, a_kafka_record
from topicserve.bodies import Asked, BodyContent
from topicserve.wire.bodies.registry import Bodies
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.replay.stages import ReplayDecoder, asks_for
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


def test_a_replay_asks_bodies_as_of_today() -> None:
    """The version that a body names is another one's by now; what it cannot say is refused."""
    router = Router((), lambda: ("digits",), "", WorkerMetrics(CollectorRegistry()))

    def asks(value: bytes) -> Asked:
        return Asked(version=int(value))

    bodies = bodies_with(AnyRoutingBody(asks, read=lambda *_: BodyContent(instance=1.0)))
    decoder = ReplayDecoder(
        Decoder(router, bodies=bodies, defers_asking=True), version_is_given=True
    )
    records = [a_kafka_record(value=value, headers=CUSTOM) for value in (b"3", b"three")]

    requests, _ = decoder.decode(records, [PartitionAssignment(PARTITION)] * 2, 1.0)
    asked, refused = map(decoder.ask, requests)

    assert isinstance(asked, Request)
    assert asked.route.version is None
    assert not isinstance(refused, Request)


@pytest.mark.parametrize("header", ["mine", "other", None])
@pytest.mark.parametrize(
    ("content_type", "value"),
    [
        ("application/json", b"{"),
        ("image/png", b"\x89PNG"),
        ("text/plain; charset=latin-1", b"\xfc"),
        ("application/x-protobuf", None),
    ],
)
def test_records_of_the_replayed_servable_are_wanted(
    content_type: str, value: bytes | None, header: str | None
) -> None:
    """By their header, the default where there is none; a body that lies elsewhere stays there."""
    headers = [("content-type", content_type.encode())]
    headers += [("ce_servable", header.encode())] if header else []
    headers += [("ce_dataref", b"file:///1")] if value is None else []
    record = a_kafka_record(value=value, headers=headers)

    assert asks_for("mine", "", Bodies())(record) is (header != "other")
    assert asks_for("other", "mine", Bodies())(record) is (header == "other")


def test_a_body_that_names_a_servable_is_asked_which() -> None:
    """One of a user's own too; one that cannot be read is wanted, to be given up."""
    body = AnyRoutingBody(
        lambda value: Asked(servable_name=value.decode()), read=lambda *_: BodyContent(instance=1)
    )
    is_wanted = asks_for("mine", "", bodies_with(body))
    header = [*CUSTOM, ("ce_servable", b"other")]

    wanted = [
        is_wanted(a_kafka_record(value=value, headers=header))
        for value in (b"mine", b"other", b"\xff")
    ]

    assert wanted == [True, False, True]
