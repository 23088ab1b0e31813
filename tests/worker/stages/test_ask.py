import threading
from typing import Any

import pytest

from tests.support.stages.bodies import CUSTOM, AnyRoutingBody, bodies_with
from tests.support.stages.environments import an_environment
from tests.support.stages.records import PARTITION, ManualClock, a_kafka_record
from topicserve.bodies import Asked, BodyContent
from topicserve.wire.dead_letter import Reason
from topicserve.worker.config.schema import DeliveryConfig
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.quarantine.chunk import as_suspect
from topicserve.worker.stages.ask import BodyAsker
from topicserve.worker.stages.decode import Decoder
from topicserve.worker.stages.request import Polled, Rejection, Request
from topicserve.worker.stages.routing import Router

HELD_BYTES = 12_345


class Gate:
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.added: list[tuple[list[int], list[int]]] = []
        self.requests: list[Request] = []

    def add(self, requests: Any, rejections: Any, epoch: int) -> None:  # noqa: ARG002
        offsets = [one.record.offset for one in requests]
        self.requests += requests
        self.added.append((offsets, [one.polled.record.offset for one in rejections]))

    def add_again(self, requests: Any, epoch: int) -> None:
        self.add(requests, [], epoch)

    def drop_revoked(self) -> list[Polled]:
        return []


class Asking:
    """A stage whose body asks as a test says, with what stands around it."""

    def __init__(self, asks: Any, predict_timeout_seconds: float = 60.0) -> None:
        delivery = DeliveryConfig(predict_timeout_seconds=predict_timeout_seconds)
        self.clock = ManualClock()
        self.environment = an_environment(clock=self.clock, delivery=delivery)
        self.tracker, self.gate = OffsetTracker(), Gate()
        bodies = bodies_with(AnyRoutingBody(asks, read=lambda *_: BodyContent(instance=1.0)))
        served = Router((), lambda: ["digits", "words"], "digits", self.environment.metrics)
        self.decoder = Decoder(served, bodies=bodies, defers_asking=True)
        self.asker = BodyAsker(
            *(self.environment, self.tracker, self.gate), Decoder(served, bodies=bodies)
        )

    def requests(self, *values: bytes) -> list[Request]:
        """Return decoded records; those of the value "json" have no such body."""
        records = [
            a_kafka_record(n)
            if value == b"json"
            else a_kafka_record(n, value=value, headers=CUSTOM)
            for n, value in enumerate(values)
        ]
        assignment = PartitionAssignment(PARTITION)
        requests, rejections = self.decoder.decode(records, [assignment] * len(records), 0.0)
        assert rejections == []
        return requests


def asked_for(value: bytes) -> Asked:
    """Return that a value asks for the servable of its name; "bad" is none."""
    if value == b"bad":
        raise ValueError("no name")
    return Asked(servable_name=value.decode(), rows=3, held_bytes=HELD_BYTES)


def test_records_go_on_in_their_order_with_what_their_bodies_ask_for() -> None:
    """Among others, which are not asked; what is no answer, or of no servable, is rejected."""
    asking = Asking(asked_for)
    requests = asking.requests(b"words", b"json", b"bad", b"digits", b"unknown")
    assert [one.is_unasked for one in requests] == [True, False, True, True, True]
    asking.tracker.count_bytes(before := sum(one.size_bytes for one in requests))

    asking.asker.add(requests, [], 7)

    assert asking.gate.added == [([0, 1, 3], [2, 4])]
    found = asking.gate.requests
    assert [one.route.servable for one in found] == ["words", "digits", "digits"]
    assert [one.input.rows for one in found] == [3, 1, 3]
    # What is counted is what they hold by now.
    grown = sum(
        one.size_bytes - request.size_bytes
        for one, request in zip(found, (requests[n] for n in (0, 1, 3)), strict=True)
    )
    assert grown > HELD_BYTES
    assert asking.tracker.in_flight_bytes == before + grown


def test_suspects_stay_such_and_their_rejections_are_told() -> None:
    """The quarantine waits for each of its chunk."""
    asking = Asking(asked_for)
    told: list[int] = []
    asking.asker.on_suspect_rejected = lambda: told.append(1)

    for request in asking.requests(b"words", b"bad"):
        asking.asker.add([as_suspect(request)], [], 0)

    assert told == [1]
    assert [one.route.is_suspect for one in asking.gate.requests] == [True]


def test_what_was_not_asked_yet_is_rejected_with_its_reason() -> None:
    """As any other record is."""
    asking = Asking(asked_for)
    (request,) = asking.requests(b"unknown")

    rejection = asking.asker.decoder.ask(request)

    assert isinstance(rejection, Rejection)
    assert rejection.reason is Reason.UNKNOWN_SERVABLE


@pytest.mark.parametrize("timeout_seconds", [60.0, 0.0])
def test_a_worker_that_ends_waits_for_no_body(timeout_seconds: float) -> None:
    """Whatever ended it; nothing is passed on, then or later, and the hang is told where wanted."""
    over = threading.Event()

    def hang(_: bytes) -> Asked:
        asking.clock.advance(61)
        if not timeout_seconds:  # it may take for ever, and something else ends the worker
            asking.environment.fatal.report(RuntimeError("over"))
        over.wait(120)
        return Asked()

    asking = Asking(hang, timeout_seconds)
    told: list[int] = []

    def on_hang(request: Request) -> None:
        told.append(request.record.offset)
        asking.environment.fatal.report(RuntimeError("it hangs"))

    asking.asker.on_hang = on_hang
    for _ in range(2):
        asking.asker.add(asking.requests(b"digits", b"words"), [], 0)
        asking.asker.add(asking.requests(b"json"), [], 0)
    over.set()

    assert told == ([0] if timeout_seconds else [])
    assert asking.gate.added == []


def test_a_stop_waits_for_bodies_no_longer_than_it_may() -> None:
    """What is left stays uncommitted, and nothing behind it passes: it would come out of order."""
    over = threading.Event()

    def hang(_: bytes) -> Asked:
        stop_time = asking.environment.stop_time
        stop_time.is_asked = lambda: True
        while not stop_time.begun() and not over.wait(0.01):
            pass
        asking.clock.advance(asking.environment.config.delivery.shutdown_timeout_seconds)
        over.wait(120)
        return Asked()

    asking = Asking(hang, predict_timeout_seconds=3600)
    asking.asker.add(asking.requests(b"digits", b"json"), [], 0)
    asking.asker.add(asking.requests(b"json"), [], 0)
    over.set()

    assert asking.gate.added == []
    assert asking.environment.fatal.error is None


def test_a_stop_that_has_time_has_bodies_answer() -> None:
    """It finishes what was polled."""
    asking = Asking(asked_for)
    asking.environment.stop_time.is_asked = lambda: True

    asking.asker.add(asking.requests(b"words", b"json"), [], 0)

    assert asking.gate.added == [([0, 1], [])]
