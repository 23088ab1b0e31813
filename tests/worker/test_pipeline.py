import random
import threading
import time
import uuid
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.structs import replace
from opentelemetry.trace import TracerProvider
from prometheus_client import CollectorRegistry

from tests.support.kafka.kafka_doubles import MemoryConsumer, MemoryLog, MemoryProducer
from tests.support.servables.servables import DOUBLE, Doubling, Served
from tests.support.stages.environments import an_environment
from tests.support.stages.examples import examples
from tests.support.stages.logged import Logged
from tests.support.stages.records import a_kafka_record, an_id
from tests.worker.stages.test_join import FakeStore
from topicserve.backends.broker import metadata_of
from topicserve.backends.errors import (
    DeliveryTimeoutError,
    FencedError,
    TransactionAbortedError,
)
from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.kinds.servable import Signature, TensorSpec
from topicserve.servables.server.swap_guard import SwapGuard
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord, TopicPartition
from topicserve.worker.assembly import Connections, build_stages
from topicserve.worker.config.dataref import DatarefConfig
from topicserve.worker.config.schema import BatchingConfig, DeliveryConfig, Guarantee
from topicserve.worker.config.served import ServedConfig
from topicserve.worker.runtime.topic_limit import TopicLimit, TopicLimits
from topicserve.worker.stages.publish import Encoder, OutgoingBatch
from topicserve.worker.stages.request import Batch, BatchPrediction
from topicserve.worker.tracing.opening import Tracing

PARTITIONS = [TopicPartition("in", number) for number in range(3)]
LIMIT_SECONDS = 30
SMALL_BATCHES = BatchingConfig(max_batch_size=7, max_in_flight_records=40)


class World:
    """A whole pipeline on a log in memory; the polls drive what happens and end the run."""

    def __init__(
        self,
        records: Sequence[KafkaRecord],
        guarantee: Guarantee,
        served: Served | None = None,
        log: MemoryLog | None = None,
        clock: Callable[[], float] = time.monotonic,
        guard: SwapGuard | None = None,
        limit: TopicLimit | None = None,
        letters: TopicLimit | None = None,
        tracer_provider: TracerProvider | None = None,
        servables: tuple[ServedConfig, ...] = (),
        consumer: Callable[[MemoryLog], MemoryConsumer] = MemoryConsumer,
        batching: BatchingConfig = SMALL_BATCHES,
        dataref: DatarefConfig = DatarefConfig(),  # noqa: B008 - frozen
        **delivery: Any,
    ) -> None:
        self.log = log or MemoryLog(records)
        self.consumer = consumer(self.log)
        self.producer = MemoryProducer(self.log)
        self.store = FakeStore({an_id(r.offset): b'{"n":%d}' % r.offset for r in records})
        self.served = served or Served({1: Doubling()})
        self.registry = CollectorRegistry()
        environment = an_environment(
            self.registry,
            clock,
            servables=servables,
            batching=batching,
            dataref=dataref,
            delivery=DeliveryConfig(
                guarantee=guarantee,
                **{
                    "drain_timeout_seconds": LIMIT_SECONDS,
                    "commit_interval_seconds": 0.001,
                    "shutdown_timeout_seconds": LIMIT_SECONDS,
                }
                | delivery,
            ),
        )
        tracing = Tracing(environment, tracer_provider)
        unknown = TopicLimits.of(environment.config, clock)
        self.stages = build_stages(
            environment,
            tracing.connections(Connections(self.consumer, self.producer, self.store)),
            self.served,
            guard,
            TopicLimits(limit or unknown.output, letters or unknown.dead_letters),
        )
        self.pipeline = tracing.pipeline(self.stages)
        self.polls = 0
        self.stop = threading.Event()

    def run(self) -> None:
        """Run until what was published covers every record, or a test stops it."""
        self.stages.output.delivery.start(1)
        expected = {an_id(record.offset) for record in self.log.records}

        def poll() -> None:
            if self.polls == 0:
                self.consumer.assign(*PARTITIONS)
            self.polls += 1
            self.each_poll()

        self.consumer.before_poll = poll
        try:
            self.pipeline.run(lambda: self.stop.is_set() or expected <= set(self.log.ids()))
        finally:
            if self.stages.intake.fetcher is not None:
                self.stages.intake.fetcher.close()
            self.stages.output.delivery.close(1)

    def metric(self, name: str, **labels: str) -> float | None:
        """Return a metric's value."""
        return self.registry.get_sample_value(f"topicserve_{name}", labels)

    def each_poll(self) -> None:
        """Do what a test wants to happen between polls."""


def records(count: int, **changes: Any) -> list[KafkaRecord]:
    """Return records over all partitions; each offset occurs once, so it names the record.

    A partition begins with the offset that is its number.
    """
    return [
        a_kafka_record(number, float(number), partition=number % 3, **changes)
        for number in range(count)
    ]


@pytest.fixture(params=list(Guarantee), ids=lambda guarantee: guarantee.value)
def guarantee(request: pytest.FixtureRequest) -> Guarantee:
    """Return each guarantee in turn."""
    found: Guarantee = request.param
    return found


def test_latency_counts_from_a_records_own_timestamp(guarantee: Guarantee) -> None:
    """A record from the future counts as 0, one without a timestamp not at all."""
    stamps = {7: -1, 8: 1_700_000_009_000}
    made = [replace(r, timestamp_ms=stamps.get(r.offset, r.timestamp_ms)) for r in records(200)]
    world = World(made, guarantee)

    world.run()

    assert world.metric("publish_to_result_seconds_count") == 199
    assert world.metric("publish_to_result_seconds_sum") == 198 * 2.5
    assert world.metric("record_seconds_count") == 200


def test_every_record_gets_its_result_with_its_metadata(guarantee: Guarantee) -> None:
    """And every offset is committed at the end."""
    world = World(records(200), guarantee)

    world.run()

    bodies = {sent.value for sent in world.log.published}
    assert len(world.log.published) == 200
    assert all(b'"metadata_status":"found"' in (body or b"") for body in bodies)
    ends = {p: 1 + max(range(p.partition, 200, 3)) for p in PARTITIONS}
    assert world.log.committed == ends


def test_results_count_as_in_flight_until_they_are_acknowledged(guarantee: Guarantee) -> None:
    """With their metadata, and with the client's copy: a small record may have a large result."""
    world = World(records(5), guarantee)
    counted: list[int] = []
    count_outcomes = world.stages.intake.tracker.count_outcomes

    def count(size_bytes: int) -> None:
        counted.append(size_bytes)
        count_outcomes(size_bytes)

    world.stages.intake.tracker.count_outcomes = count  # type: ignore[method-assign]

    world.run()

    assert sum(counted) == 2 * sum(len(sent.value or b"") for sent in world.log.published)
    assert (
        world.stages.intake.tracker.outcome_bytes,
        world.stages.intake.tracker.in_flight_bytes,
    ) == (0, 0)


@pytest.mark.parametrize("large", ["results", "metadata"])
def test_batches_of_large_results_are_small_from_the_first_one(
    guarantee: Guarantee, large: str
) -> None:
    """So that no more than a few results are held beyond what may be in flight."""
    text = b"a" * 2_000_000

    class Large(Doubling):
        """Answers each row with a long text."""

        signatures = {  # noqa: RUF012
            "serving_default": Signature(DOUBLE.inputs, {"y": TensorSpec(np.dtype(object), ())})
        }

        def predict(self, inputs: Any, signature_name: str = "serving_default") -> Any:  # noqa: ARG002
            return {"y": np.array([text] * len(inputs["x"]), object)}

    servable = Large() if large == "results" else Doubling()
    world = World(records(40), guarantee, Served({1: servable}))
    if large == "metadata":
        for record_id in world.store.content:
            world.store.content[record_id] = b'{"text":"%b"}' % text[:1_000_000]
    batches: list[int] = []
    note_results = world.stages.inference.batcher.note_results

    def note(batch: Batch, size_bytes: int) -> None:
        batches.append(size_bytes)
        note_results(batch, size_bytes)

    world.stages.inference.batcher.note_results = note  # type: ignore[method-assign]

    world.run()

    # 16 MiB hold four results of 2 MB, each counted with the client's copy.
    assert max(batches) <= 16 * 1024 * 1024
    assert len(batches) >= 5
    assert len(world.log.ids()) == 40


def test_results_do_not_wait_for_records_that_do_not_come(guarantee: Guarantee) -> None:
    """However long the interval is: the run ends when all is published."""
    world = World(records(9), guarantee, commit_interval_seconds=3600)

    world.run()

    assert len(world.log.published) == 9


def test_each_stage_says_what_it_took(guarantee: Guarantee) -> None:
    """Waiting, predicting, the metadata store and commits have their histograms."""
    world = World(records(50), guarantee)

    world.run()

    batches = world.metric("batch_wait_seconds_count", servable="digits")
    assert batches is not None
    assert batches >= 50 // 7
    assert world.metric("predict_seconds_count", servable="digits", version="1") == batches
    assert world.metric("metadata_seconds_count") == batches
    assert (world.metric("commit_seconds_count") or 0) > 0


def test_results_of_one_partition_keep_their_order(guarantee: Guarantee) -> None:
    """So those of one key do, whichever thread predicted them."""
    world = World(records(300), guarantee)

    world.run()

    numbers = [int(record_id.replace("-", ""), 16) for record_id in world.log.ids()]
    for partition in range(3):
        own = [number for number in numbers if number % 3 == partition]
        assert own == sorted(own)


def test_bad_records_become_dead_letters_among_good_ones(guarantee: Guarantee) -> None:
    """Whatever is wrong with them, and each only once."""
    good = records(60)
    good[7] = replace(good[7], value=b"{")
    good[8] = replace(good[8], value=b'{"instance": "text"}')
    good[9] = replace(good[9], headers=[*good[9].headers, ("ce_signature", b"other")])
    good[10] = replace(good[10], headers=[*good[10].headers, ("ce_servable", b"words")])
    world = World(good, guarantee, Served({1: Doubling(dislikes=11.0)}))
    world.store.content[an_id(12)] = b"not JSON"

    world.run()

    reasons = {
        int((dict(sent.headers)["ce_id"] or b"").replace(b"-", b""), 16): dict(sent.headers)[
            "topicserve-reason"
        ]
        for sent in world.log.published
        if sent.topic == "dead"
    }
    assert reasons == {
        7: b"invalid_record",
        8: b"invalid_input",
        9: b"unknown_signature",
        10: b"unknown_servable",
        11: b"predict_failed",
        12: b"metadata_invalid",
    }
    assert len(world.log.published) == 60


def test_without_a_version_nothing_is_lost_and_polling_goes_on(guarantee: Guarantee) -> None:
    """The worker pauses what it cannot take and keeps its membership."""
    world = World(records(100), guarantee, Served({}))

    def each_poll() -> None:
        if world.polls == 6:
            assert world.log.published == []
            world.served.versions[1] = Doubling()

    world.each_poll = each_poll  # type: ignore[method-assign]

    world.run()

    assert len(set(world.log.ids())) == 100
    assert world.polls >= 6


def an_id_of(sent: OutgoingRecord) -> str:
    """Return the record id of what was published."""
    return (dict(sent.headers)["ce_id"] or b"").decode()


class Times(Doubling):
    """Multiplies by its version; each call of it brings the next version, some rows fail."""

    def __init__(self, version: int, served: Served) -> None:
        super().__init__()
        self.version, self.served = version, served

    def predict(self, inputs: Any, signature_name: str = "serving_default") -> Any:  # noqa: ARG002
        following = self.version + 1
        self.served.versions.setdefault(following, Times(following, self.served))
        if (inputs["x"] % 10 == 1).any():
            raise InvalidArgumentError("not this one")
        return {"y": inputs["x"] * self.version}


def test_a_version_swap_splits_no_batch(guarantee: Guarantee) -> None:
    """Also between two calls for one batch; every result names the version that spoke."""
    served = Served({})
    served.versions[1] = Times(1, served)
    world = World(records(300), guarantee, served)
    batches: list[set[str]] = []
    predict = world.stages.inference.predictor.predict

    def noted(batch: Batch) -> BatchPrediction:
        batches.append({request.input.record_id for request in batch.requests})
        return predict(batch)

    world.stages.inference.predictor.predict = noted  # type: ignore[method-assign]

    world.run()

    results = [sent for sent in world.log.published if sent.topic == "out"]
    named = {
        an_id_of(sent): int(dict(sent.headers)["ce_servableversion"] or b"") for sent in results
    }
    said = {an_id_of(sent): orjson.loads(sent.value or b"")["prediction"] for sent in results}
    assert said == {one: uuid.UUID(one).int * version for one, version in named.items()}
    assert len(named) == 270
    assert len(set(named.values())) > 10
    assert [ids for ids in batches if len({named[one] for one in ids if one in named}) > 1] == []
    assert served.open_handles == 0


def test_a_fault_of_our_own_stops_the_worker_with_nothing_committed(
    guarantee: Guarantee,
) -> None:
    """Anyone who restarts it finds every record where it was."""
    world = World(records(20), guarantee)
    world.producer.fail_send = lambda _: FencedError("a newer producer")

    with pytest.raises(FencedError):
        world.run()

    assert all(offset == partition.partition for partition, offset in world.log.committed.items())


class BrokenEncoder(Encoder):
    """An encoder with a bug in it."""

    def encode(self, *_: object) -> OutgoingBatch:
        raise KeyError("a bug")


def test_a_bug_in_a_stage_stops_the_worker(guarantee: Guarantee) -> None:
    """It comes out of `run` with its own traceback, and nothing is committed behind its back."""
    world = World(records(20), guarantee)
    world.stages.output.encoder = BrokenEncoder("out", "dead", "worker-1")

    with pytest.raises(KeyError, match="a bug") as caught:
        world.run()

    assert caught.traceback[-1].frame.code.name == "encode"

    assert all(offset == partition.partition for partition, offset in world.log.committed.items())


def test_what_a_shutdown_leaves_undone_is_counted(guarantee: Guarantee, logged: Logged) -> None:
    """The records stay where they are, for anyone who reads the partitions next."""
    world = World(records(20), guarantee, Served({}), shutdown_timeout_seconds=0.001)

    def each_poll() -> None:
        if world.stages.intake.tracker.in_flight_records == 20:
            world.stop.set()

    world.each_poll = each_poll  # type: ignore[method-assign]

    world.run()

    assert all(offset == partition.partition for partition, offset in world.log.committed.items())
    assert world.metric("abandoned_records_total", cause="shutdown") == 20
    assert logged("shutdown_timed_out") == [{"records": 20}]
    assert (world.metric("retries_total", stage="predict") or 0) >= 1


def test_too_large_a_share_of_dead_letters_pauses_the_worker(
    guarantee: Guarantee, logged: Logged
) -> None:
    """What is polled by then stays uncommitted, also when partitions go and when it stops."""
    bad = records(400, value=b"{")
    world = World(bad, guarantee, breaker_window_records=50, max_dead_letter_share=0.5)
    paused_polls = 0

    def each_poll() -> None:
        nonlocal paused_polls
        if world.stages.oversight.breaker.open and world.consumer.paused == set(
            world.consumer.positions
        ):
            paused_polls += 1
            if paused_polls == 3:
                world.consumer.revoke(PARTITIONS[0])
            if paused_polls == 6:
                world.stop.set()

    world.each_poll = each_poll  # type: ignore[method-assign]

    world.run()

    published = set(world.log.ids())
    assert len(published) <= 50
    for partition, offset in world.log.committed.items():
        own = range(partition.partition, min(offset, 400), 3)
        assert {an_id(number) for number in own} <= published
    assert world.stages.oversight.stall_detector.stalled_seconds() < LIMIT_SECONDS
    (opened,) = logged("breaker_opened")
    assert opened["records"] == opened["dead_letters"]
    assert (
        opened.items()
        >= {
            "reason": "invalid_record",
            "problem": "value: is not JSON: Input data was truncated",
            "remedy": "consumption is paused; fix the cause and restart the worker",
        }.items()
    )


def test_what_a_paused_worker_holds_back_is_counted_when_it_stops(
    guarantee: Guarantee, logged: Logged
) -> None:
    """It waits for none of it: the cause must be fixed first."""
    bad = records(400, value=b"{")
    world = World(bad, guarantee, breaker_window_records=50, max_dead_letter_share=0.5)

    def each_poll() -> None:
        if world.stages.oversight.breaker.open:
            world.stop.set()

    world.each_poll = each_poll  # type: ignore[method-assign]

    world.run()

    left = world.metric("abandoned_records_total", cause="shutdown")
    assert left
    assert logged("left_uncommitted") == [{"records": left}]


class Slow(Doubling):
    """Does not return before it is told to."""

    def __init__(self) -> None:
        self.entered, self.go = threading.Event(), threading.Event()

    def predict(self, inputs: Any, signature_name: str = "serving_default") -> Any:
        """Wait first."""
        self.entered.set()
        assert self.go.wait(LIMIT_SECONDS)
        return super().predict(inputs, signature_name)


def test_a_paused_worker_that_stops_leaves_nothing_to_be_read_carefully(
    guarantee: Guarantee,
) -> None:
    """What is being predicted then has a moment to return, and is not taken for what hung."""
    slow = Slow()
    first, *others = records(100)
    bad = [replace(one, value=b"{") for one in others if one.partition != first.partition]
    world = World(
        [first], guarantee, Served({1: slow}), breaker_window_records=20, max_dead_letter_share=0.5
    )
    delivery = world.stages.output.delivery
    finish = delivery.finish

    def finish_and_go(timeout_seconds: float) -> bool:
        finished = finish(timeout_seconds)
        slow.go.set()
        return finished

    def each_poll() -> None:
        if slow.entered.is_set() and world.log.records == [first]:
            world.log.records += bad
        if world.stages.oversight.breaker.open:
            world.stop.set()

    delivery.finish = finish_and_go  # type: ignore[method-assign]
    world.each_poll = each_poll  # type: ignore[method-assign]

    world.run()

    notes = [metadata_of(offset) for offset in world.log.committed.values()]
    assert len(notes) == len(PARTITIONS)
    assert not any("working" in note for note in notes)


@settings(max_examples=examples(40))
@given(seed=st.integers(0, 2**32), guarantee=st.sampled_from(list(Guarantee)))
def test_whatever_goes_wrong_nothing_is_lost(seed: int, guarantee: Guarantee) -> None:
    """Under exactly-once each result is there once; offsets never pass what was published."""
    chance = random.Random(seed)
    world = World(records(150), guarantee)
    world.producer.fail_send = lambda _: (
        DeliveryTimeoutError("frozen") if chance.random() < 0.003 else None
    )
    world.producer.fail_commit = lambda: (
        TransactionAbortedError("abortable") if chance.random() < 0.2 else None
    )

    def each_poll() -> None:
        with world.log.lock:  # the two are to be of one moment
            committed, published = dict(world.log.committed), set(world.log.ids())
        for partition, offset in committed.items():
            own = range(partition.partition, min(offset, 150), 3)
            assert {an_id(number) for number in own} <= published
        held = list(world.consumer.positions)
        missing = [p for p in PARTITIONS if p not in held]
        event = chance.random()
        if event < 0.1 and held:
            world.consumer.revoke(chance.choice(held))
        elif event < 0.2 and held:
            world.consumer.lose(chance.choice(held))
        elif event < 0.5 and missing:
            world.consumer.assign(chance.choice(missing))

    world.each_poll = each_poll  # type: ignore[method-assign]

    world.run()

    ids = world.log.ids()
    assert set(ids) == {an_id(number) for number in range(150)}
    # What was counted was taken off once, whatever became of it; a batch whose partitions are lost
    # is not waited for, and may end a moment later.
    tracker = world.stages.intake.tracker
    assert tracker.wait_until(lambda: tracker.outcome_bytes == 0, LIMIT_SECONDS)
    if guarantee is Guarantee.EXACTLY_ONCE:
        assert len(ids) == 150
