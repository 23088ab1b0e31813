"""Replicas one after the other on one log; some records end the worker that predicts them."""

import threading
from collections import Counter
from collections.abc import Collection
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.kafka.kafka_doubles import MemoryLog
from tests.support.stages.examples import examples
from tests.support.stages.logged import Logged
from tests.support.stages.records import ManualClock, an_id
from tests.worker.test_pipeline import World, records
from topicserve.backends.broker import OffsetAndMetadata, metadata_of
from topicserve.backends.errors import BackendUnavailableError
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.config.schema import Guarantee
from topicserve.worker.quarantine.given_up import BatchTimeoutError
from topicserve.worker.stages.predict import Predictor
from topicserve.worker.stages.request import Batch, BatchPrediction

COUNT = 60
PARTITION = TopicPartition("in", 0)
guarantees = pytest.mark.parametrize("guarantee", list(Guarantee), ids=lambda one: one.value)


class Death(BaseException):
    """Stands for the end of the process: nothing of the worker's runs after it."""


class DyingPredictor(Predictor):
    """A predictor that ends the worker on some records."""

    def __init__(self, real: Predictor, killers: Collection[int]) -> None:
        self._real = real
        self._killers = killers
        self.sizes: list[int] = []

    def predict(self, batch: Batch) -> BatchPrediction:
        self.sizes.append(len(batch.requests))
        if any(request.record.offset in self._killers for request in batch.requests):
            self.end(batch)
        return self._real.predict(batch)

    def end(self, batch: Batch) -> None:  # noqa: ARG002 - for those that derive from it
        """End the worker."""
        raise Death


class HangingPredictor(DyingPredictor):
    """A predictor that does not return for some records, until the test is over."""

    def __init__(self, real: Predictor, killers: Collection[int], clock: ManualClock) -> None:
        super().__init__(real, killers)
        self._clock = clock
        self.over = threading.Event()
        self.hanging = threading.Event()

    def end(self, batch: Batch) -> None:  # noqa: ARG002
        self.hanging.set()
        self.over.wait(30)
        raise Death  # what hung does nothing more


class Replicas:
    """Starts one worker after the other until one of them ends in order."""

    def __init__(self, guarantee: Guarantee, killers: Collection[int], **delivery: Any) -> None:
        self.guarantee = guarantee
        self.killers = killers
        self.delivery = delivery
        self.log = MemoryLog(records(COUNT))
        self.deaths = 0
        self.worlds: list[World] = []

    def run(self, at_most: int) -> None:
        """Run workers; fail if so many die."""
        while self.run_one() is not None:
            self.deaths += 1
            assert self.deaths < at_most

    def run_one(self) -> BaseException | None:
        """Run a worker; return what it died of."""
        world = World((), self.guarantee, log=self.log, **self.delivery)
        self.worlds.append(world)
        world.stages.intake.quarantine.turn_seconds = 0.01
        world.stages.inference.predictor = DyingPredictor(
            world.stages.inference.predictor, self.killers
        )
        try:
            world.run()
        except Death as death:
            return death
        return None

    def outcomes(self) -> dict[str, set[str]]:
        """Return where each record id was published, and a dead letter's reason."""
        found: dict[str, set[str]] = {}
        for sent in self.log.published:
            headers = dict(sent.headers)
            where = sent.topic
            if where == "dead":
                where += " " + (headers["topicserve-reason"] or b"").decode()
            found.setdefault((headers["ce_id"] or b"").decode(), set()).add(where)
        return found

    def expected(self, reason: str = "killed_worker") -> dict[str, set[str]]:
        """Return what should become of each record."""
        return {
            an_id(offset): {f"dead {reason}" if offset in self.killers else "out"}
            for offset in range(COUNT)
        }


@guarantees
def test_a_record_that_kills_its_worker_is_given_up_alone(
    guarantee: Guarantee, logged: Logged
) -> None:
    """After four deaths, twice alone, whichever replica comes next; all others are answered."""
    replicas = Replicas(guarantee, {31})

    replicas.run(at_most=6)

    assert replicas.outcomes() == replicas.expected()
    assert replicas.deaths == 4
    given_up = {"partition": "in-1", "offset": 31, "reason": "killed_worker"}
    assert given_up in logged("record_quarantined")


@pytest.mark.slow
@settings(max_examples=examples(20), deadline=None)
@given(
    st.sampled_from(list(Guarantee)),
    st.sets(st.integers(0, COUNT - 1), max_size=3),
    st.integers(2, 4),
)
def test_any_killers_are_found_and_nothing_else_is_given_up(
    guarantee: Guarantee, killers: set[int], max_attempts: int
) -> None:
    """However many there are, and wherever they stand."""
    replicas = Replicas(guarantee, killers, max_attempts=max_attempts)

    # Deaths between a rebalance and the first note accuse nothing, so there may be some more.
    replicas.run(at_most=2 * len(killers) * (max_attempts + 2) + 2)

    assert replicas.outcomes() == replicas.expected()


def test_what_is_given_up_stays_so_until_it_is_committed() -> None:
    """A transaction may hold records of several partitions, and never come to its end."""
    replicas = Replicas(
        Guarantee.EXACTLY_ONCE, {0, 58}, commit_interval_seconds=60.0, max_attempts=2
    )

    # The first batches of a worker are small, so it may die before it has read both.
    replicas.run(at_most=18)

    assert replicas.outcomes() == replicas.expected()


@guarantees
def test_workers_that_die_for_other_reasons_lose_no_record(guarantee: Guarantee) -> None:
    """A machine that is switched off, again and again, accuses nothing for good."""
    replicas = Replicas(guarantee, ())
    for offset in (50, 59, 55, 58):
        replicas.killers = {offset}
        replicas.run_one()
    replicas.killers = ()

    replicas.run(at_most=1)

    assert replicas.outcomes() == replicas.expected()


@guarantees
def test_a_worker_that_ends_in_order_leaves_no_note(guarantee: Guarantee) -> None:
    """The next one reads at full speed."""
    replicas = Replicas(guarantee, ())

    replicas.run(at_most=1)

    assert {metadata_of(offset) for offset in replicas.log.committed.values()} == {""}


@guarantees
def test_a_worker_that_has_a_partition_says_so_beside_every_offset(guarantee: Guarantee) -> None:
    """It is what its successor knows its death by."""
    replicas = Replicas(guarantee, {COUNT - 1})

    replicas.run_one()

    texts = [metadata_of(offset) for offset in replicas.log.committed.values()]
    assert len(texts) == 3
    assert all(text.startswith("topicserve1 working=") for text in texts)


def test_what_was_in_flight_at_a_death_is_read_in_small_steps(logged: Logged) -> None:
    """And told in a metric while it lasts."""
    replicas = Replicas(Guarantee.AT_LEAST_ONCE, {31})
    replicas.run_one()
    replicas.killers = ()
    replicas.log.records = records(2 * COUNT)  # what follows is read as usual
    world = World((), Guarantee.AT_LEAST_ONCE, log=replicas.log, max_attempts=2)
    predictor = world.stages.inference.predictor = DyingPredictor(
        world.stages.inference.predictor, ()
    )
    careful = list[float | None]()
    world.each_poll = lambda: careful.append(  # type: ignore[method-assign]
        world.metric("careful_partitions")
    )

    world.run()

    assert max(filter(None, careful)) >= 1
    assert Counter(predictor.sizes)[1] > 10
    started = {line["partition"]: str(line["note"]) for line in logged("careful_reading_started")}
    assert all(" deaths=1 " in note for note in started.values())
    assert {line["partition"] for line in logged("careful_reading_ended")} == started.keys() > set()


def test_a_broker_that_does_not_tell_the_notes_is_asked_again(logged: Logged) -> None:
    """The records are read meanwhile; it is told."""
    world = World(records(60), Guarantee.AT_LEAST_ONCE)
    unanswered = iter([BackendUnavailableError("no answer")])
    world.consumer.committed_error = lambda: next(unanswered, None)

    world.run()

    assert logged("attempts_not_noted") == [{"problem": "no answer"}]
    assert len(set(world.log.ids())) == 60


def test_without_attempts_nothing_is_noted_or_given_up() -> None:
    """0 switches it off."""
    replicas = Replicas(Guarantee.AT_LEAST_ONCE, {31}, max_attempts=0)
    for _ in range(5):
        assert replicas.run_one() is not None

    assert {metadata_of(offset) for offset in replicas.log.committed.values()} <= {""}


class HangingReplicas(Replicas):
    """Workers that hang on some records, on a clock that only moves once they do."""

    def run_one(self) -> BaseException | None:
        clock = ManualClock()
        world = World(
            (),
            self.guarantee,
            log=self.log,
            clock=clock,
            predict_timeout_seconds=60,
            **self.delivery,
        )
        self.worlds.append(world)
        predictor = HangingPredictor(world.stages.inference.predictor, self.killers, clock)
        world.stages.inference.predictor = predictor

        def each_poll() -> None:
            # Only what hangs is to have been predicted for so long.
            watches = world.stages.inference.watch, world.stages.output.watch
            is_alone = sum(len(watch.running_for(-1)) for watch in watches) == 1
            if predictor.hanging.is_set() and is_alone and self.is_time_to_end(world):
                clock.advance(61)

        world.each_poll = each_poll  # type: ignore[method-assign]
        try:
            world.run()
        except BatchTimeoutError as error:
            return error
        finally:
            predictor.over.set()
        return None

    def is_time_to_end(self, world: World) -> bool:  # noqa: ARG002 - for those that derive from it
        """Return whether more time than the limit is to pass now."""
        return True


@guarantees
def test_a_record_whose_prediction_hangs_is_given_up_as_timed_out(guarantee: Guarantee) -> None:
    """After three timeouts, each of which ends the worker; all others are answered.

    A batch that starts just before the clock is moved looks as if it hung, too: that may take more.
    """
    replicas = HangingReplicas(guarantee, {31})

    replicas.run(at_most=6)

    assert replicas.outcomes() == replicas.expected("timed_out")
    assert replicas.deaths >= 3
    assert (replicas.worlds[0].metric("predict_timeouts_total") or 0) >= 1


def test_other_partitions_go_on_beside_a_hang() -> None:
    """As long as a thread is left: only what shares the hanging record's partition waits."""
    others = {an_id(offset) for offset in range(COUNT) if offset % 3 != 31 % 3}

    class Patient(HangingReplicas):
        def is_time_to_end(self, world: World) -> bool:
            return len(others - set(world.log.ids())) <= 7  # what shares the hanging batch

    assert isinstance(Patient(Guarantee.AT_LEAST_ONCE, {31}).run_one(), BatchTimeoutError)


class Opened:
    """A quarantine on a tracker with one partition, and what of polled records is given up."""

    def __init__(self, offset: int, note: str) -> None:
        self.world = World((), Guarantee.AT_LEAST_ONCE)
        consumer, tracker = self.world.consumer, self.world.stages.intake.tracker
        consumer.log.committed[PARTITION] = OffsetAndMetadata(offset, note)
        tracker.assign([PARTITION])
        self.quarantine = self.world.stages.intake.quarantine
        self.quarantine.assigned([PARTITION])

    def given_up(self, *offsets: int) -> list[int]:
        """Poll records; return the offsets of those that are given up."""
        stages = self.world.stages
        polled = [record for record in records(max(offsets) + 1) if record.offset in offsets]
        assignments = stages.intake.tracker.track(polled)
        requests, _ = stages.intake.decoder.decode(polled, assignments, 0.0)
        _, rejections = self.quarantine.hold_back(requests, 0)
        return [rejection.polled.record.offset for rejection in rejections]


def test_what_is_given_up_of_one_log_is_not_given_up_of_the_next() -> None:
    """A topic was created again while it was read: its records have the same offsets."""
    opened = Opened(2, "topicserve1 given_up=3")
    assert opened.given_up(2, 3, 4) == [3]

    assert opened.given_up(0, 1, 2, 3, 4) == []
    assert opened.quarantine.is_idle
    note = opened.world.stages.intake.tracker.commits.with_notes(
        opened.world.stages.intake.tracker.commits.cut()
    )[PARTITION]
    assert "given_up" not in metadata_of(note)
    assert "working=" in metadata_of(note)


def test_a_note_behind_the_first_record_is_of_another_log() -> None:
    """The committed offset lay behind the new log's end, so that reading went back."""
    assert Opened(20, "topicserve1 given_up=3").given_up(0, 1, 2, 3, 4) == []


def test_ordinary_records_do_not_go_through_the_quarantine() -> None:
    """Only the first ones of a partition do: their note is read then."""
    opened = Opened(0, "")
    opened.world.stages.intake.tracker.track(records(1))
    assert opened.quarantine.is_needed

    opened.quarantine.hold_back([], 0)

    assert not opened.quarantine.is_needed
