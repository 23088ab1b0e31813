"""Bodies of a user's own that hang, or end their worker, when they are asked or when they write."""

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from tests.support.references.scripted_store import PREFIX, scripted
from tests.support.stages.bodies import CUSTOM, AnyRoutingBody, bodies_with
from tests.support.stages.logged import Logged
from tests.support.stages.records import ManualClock, a_kafka_record
from tests.worker.quarantine.test_quarantine import (
    COUNT,
    Death,
    Replicas,
    guarantees,
)
from tests.worker.test_pipeline import World
from topicserve.backends.broker import metadata_of
from topicserve.bodies import Asked, BodyAnswer, BodyContent
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.config.dataref import DatarefConfig
from topicserve.worker.config.schema import Guarantee
from topicserve.worker.quarantine.given_up import BatchTimeoutError
from topicserve.worker.stages.decode import Decoder
from topicserve.worker.stages.request import Rejection, Request

LIMIT_SECONDS = 60.0
HANG_SECONDS = 120.0


def number_in(value: bytes) -> Asked:
    """Return what a value asks for that is a number: one row, and nothing else."""
    int(value)
    return Asked()


class Bodies:
    """A body of numbers, and what it does beside."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.asks: Callable[[bytes], Asked] = lambda _: Asked()
        self.called: Callable[[str, bytes], None] = lambda _, __: None
        """Called at the begin of each method with the record's value."""
        self.over = threading.Event()
        """Set at the end of the test: what hung does nothing more in a process that has ended."""

        def asks(value: bytes) -> Asked:
            self.called("asks", value)
            return self.asks(value)

        def write(answer: BodyAnswer) -> bytes:
            self.called("write", answer.request)
            return answer.request

        def read(value: bytes, _: object) -> BodyContent:
            return BodyContent(instance=float(value))

        body = AnyRoutingBody(asks, read=read, write=write)
        monkeypatch.setattr("topicserve.worker.assembly.open_bodies", lambda _: bodies_with(body))


@pytest.fixture(name="bodies")
def some_bodies(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bodies]:
    """Let workers have a body that is asked what its records want."""
    bodies = Bodies(monkeypatch)
    yield bodies
    bodies.over.set()


def written(count: int = COUNT) -> list[Any]:
    """Return records whose values are their numbers, in that body."""
    return [
        a_kafka_record(number, value=b"%d" % number, partition=number % 3, headers=CUSTOM)
        for number in range(count)
    ]


class HangingBodies(Replicas):
    """Workers whose body does not return for some records: then time passes."""

    def __init__(self, bodies: Bodies, *given: Any, method: str = "asks", **config: Any) -> None:
        super().__init__(*given, **config)
        self.log.records = written()
        self.bodies = bodies
        self.method = method

    def run_one(self) -> BaseException | None:
        clock = ManualClock()
        world = World(
            *((), self.guarantee),
            log=self.log,
            clock=clock,
            predict_timeout_seconds=LIMIT_SECONDS,
            **self.delivery,
        )

        def hang(method: str, value: bytes) -> None:
            if method == self.method and int(value) in self.killers:
                clock.advance(LIMIT_SECONDS + 1)
                self.bodies.over.wait(HANG_SECONDS)

        self.bodies.called = hang
        self.worlds.append(world)
        try:
            world.run()
        except BatchTimeoutError as error:
            return error
        return None


@guarantees
def test_a_record_whose_body_hangs_when_asked_is_given_up(
    guarantee: Guarantee, bodies: Bodies, logged: Logged
) -> None:
    """After three workers that it ended, alone; the first one has noted which record it is."""
    replicas = HangingBodies(bodies, guarantee, {31})

    first = replicas.run_one()

    assert "application/x-test" in str(first)
    assert "offset 31 of in-1" in str(first)
    note = metadata_of(replicas.log.committed[TopicPartition("in", 1)])
    assert "suspects=31-31 " in note
    assert note.endswith("timed_out predicting")

    replicas.run(at_most=6)

    assert replicas.deaths >= 2
    assert replicas.outcomes() == replicas.expected("timed_out")
    assert [one["offset"] for one in logged("record_quarantined")] == [31]
    assert replicas.worlds[0].metric("predict_timeouts_total") == 1


@guarantees
def test_a_fetched_body_that_hangs_when_asked_is_given_up(
    guarantee: Guarantee, bodies: Bodies
) -> None:
    """It is not fetched again and again, each time with another thread that does not return."""
    scripted({str(number): b"%d" % number for number in range(COUNT)})
    dataref = DatarefConfig(allow=(PREFIX,), timeout_seconds=10 * LIMIT_SECONDS)
    replicas = HangingBodies(bodies, guarantee, {31}, dataref=dataref)
    replicas.log.records = [
        a_kafka_record(
            number,
            value=None,
            partition=number % 3,
            headers=[*CUSTOM, ("ce_dataref", f"{PREFIX}/{number}".encode())],
        )
        for number in range(COUNT)
    ]

    # What is being predicted when the clock is moved may look as if it hung, too.
    replicas.run(at_most=12)

    assert replicas.outcomes() == replicas.expected("timed_out")
    assert replicas.deaths >= 3


class DyingDecoder(Decoder):
    """A decoder that ends the worker on some records, as native code in a body does."""

    def __init__(self, real: Decoder, replicas: Replicas) -> None:
        self._real = real
        self._replicas = replicas

    def ask(self, request: Request) -> Request | Rejection:
        if request.record.offset in self._replicas.killers:
            raise Death
        return self._real.ask(request)


class DyingBodies(Replicas):
    """Workers that some records end when their body is asked."""

    def run_one(self) -> BaseException | None:
        world = World((), self.guarantee, log=self.log, **self.delivery)
        self.worlds.append(world)
        asker = world.stages.intake.asker
        assert asker is not None
        asker.decoder = DyingDecoder(asker.decoder, self)
        try:
            world.run()
        except Death as death:
            return death
        return None


@guarantees
def test_a_record_whose_body_ends_the_worker_when_asked_is_given_up(
    guarantee: Guarantee, bodies: Bodies
) -> None:
    """It is asked behind the note, as a suspect is predicted; a bad one among them is rejected."""
    bodies.asks = number_in
    replicas = DyingBodies(guarantee, {31})
    replicas.log.records = written()
    bad = a_kafka_record(28, value=b"no number", partition=1, headers=CUSTOM)
    replicas.log.records[28] = bad

    replicas.run(at_most=8)

    expected = replicas.expected()
    rejected = {sorted(expected)[28]: {"dead invalid_record"}}
    assert replicas.outcomes() == expected | rejected
    assert replicas.deaths >= 3


@guarantees
def test_what_bodies_ask_for_is_answered_and_counted(guarantee: Guarantee, bodies: Bodies) -> None:
    """In the order of the records, and nothing is held when all are answered."""
    bodies.asks = lambda value: Asked(held_bytes=10_000 * (1 + int(value) % 2))
    world = World(written(), guarantee)

    world.run()

    values = [sent.value for sent in world.log.published]
    for partition in range(3):
        numbers = [n for n in (int(value or b"") for value in values) if n % 3 == partition]
        assert numbers == sorted(numbers)
    assert len(values) == COUNT
    assert world.stages.intake.tracker.in_flight_bytes == 0


@guarantees
def test_a_record_whose_result_hangs_when_it_is_written_is_given_up(
    guarantee: Guarantee, bodies: Bodies
) -> None:
    """As one whose prediction hangs, in its batch at first."""
    replicas = HangingBodies(bodies, guarantee, {31}, method="write")

    replicas.run(at_most=12)

    assert replicas.outcomes() == replicas.expected("timed_out")
    assert replicas.deaths >= 3
