import hashlib
import threading
from collections.abc import Sequence
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.references.scripted_store import BODY, PREFIX, scripted
from tests.support.stages.logged import Logged
from tests.support.stages.records import a_kafka_record, an_id
from tests.worker.test_pipeline import PARTITIONS, World
from topicserve.backends.broker import metadata_of
from topicserve.backends.errors import RecordTooLargeError
from topicserve.backends.references.errors import BrokenAnswerError
from topicserve.protos.predict_pb2 import PredictRequest
from topicserve.wire.kafka_record import KafkaRecord, OutgoingRecord, TopicPartition
from topicserve.worker.config.dataref import DatarefConfig
from topicserve.worker.config.schema import BatchingConfig, Guarantee
from topicserve.worker.stages.fetch.fetcher import FULL_RECORDS
from topicserve.worker.stages.request import Batch

ALLOWED = DatarefConfig(allow=(PREFIX,), wait_seconds=60.0)
PATIENCE_SECONDS = 60.0
guarantees = pytest.mark.parametrize("guarantee", list(Guarantee), ids=lambda one: one.value)


def referring(offset: int, url: str = "", **changes: Any) -> KafkaRecord:
    """Return a record without a value, whose body lies in the scripted store by its offset."""
    headers = changes.pop("headers", [])
    headers = [("ce_dataref", (url or f"{PREFIX}/{offset}").encode()), *headers]
    changes = {"value": None, "partition": offset % 3, **changes}
    return a_kafka_record(offset, headers=headers, **changes)


def a_body(number: int) -> bytes:
    """Return a body of one row."""
    return b'{"instance": %d}' % number


def a_world(
    records: Sequence[KafkaRecord],
    guarantee: Guarantee,
    dataref: DatarefConfig = ALLOWED,
    **config: Any,
) -> World:
    """Return a worker that may fetch from the scripted store, and tries again at once."""
    return World(records, guarantee, dataref=dataref, max_retry_pause_seconds=0.005, **config)


def outcomes(world: World) -> dict[int, str]:
    """Return the value of each result, or the reason of each dead letter, by offset."""
    found = {}
    for sent in world.log.published:
        headers = dict(sent.headers)
        offset = int((headers["ce_id"] or b"").replace(b"-", b""), 16)
        value = sent.value or b""
        if sent.topic == "dead":
            found[offset] = (headers["topicserve-reason"] or b"").decode()
        else:
            found[offset] = value.partition(b'"prediction":')[2].partition(b",")[0].decode()
    return found


def message_of(world: World, offset: int) -> str:
    """Return what the dead letter of a record says."""
    (sent,) = [s for s in world.log.published if dict(s.headers)["ce_id"] == an_id(offset).encode()]
    return (dict(sent.headers)["kafka_dlt-exception-message"] or b"").decode()


@guarantees
def test_bodies_are_fetched_and_answered_beside_others(guarantee: Guarantee) -> None:
    """JSON in any form and protobuf alike; metadata is joined, and every offset committed."""
    scripted({str(number): a_body(number) for number in range(60)})
    records = [
        referring(number) if number % 2 else a_kafka_record(number, number, partition=number % 3)
        for number in range(60)
    ]
    world = a_world(records, guarantee)

    world.run()

    assert outcomes(world) == {number: f"{2.0 * number}" for number in range(60)}
    assert all(b'"metadata_status":"found"' in (s.value or b"") for s in world.log.published)
    assert world.log.committed == {p: 1 + max(range(p.partition, 60, 3)) for p in PARTITIONS}
    assert world.stages.intake.tracker.in_flight_bytes == 0
    assert world.metric("dataref_fetches_total", outcome="found") == 30
    assert world.metric("dataref_fetch_seconds_count") == 30
    assert world.metric("dataref_bytes_total") == sum(len(a_body(n)) for n in range(1, 60, 2))
    assert world.metric("dataref_waiting_records") == 0


@guarantees
def test_what_cannot_be_fetched_is_given_up_alone(guarantee: Guarantee, logged: Logged) -> None:
    """Each with a reason of its own, and with the record as it was published."""
    good = hashlib.sha256(BODY).hexdigest()
    scripted(
        {
            "0": BODY,
            "1": BODY,
            "4": b"x" * 2000,
            "5": BODY,
            "6": b"{",
            "7": b"",
            "10": b'{"instance": "text"}',
            "12": BODY,
        }
    )
    records = [
        referring(0, headers=[("ce_datarefhash", f"sha256:{good}".encode())]),
        referring(1, headers=[("ce_datarefhash", b"sha256:" + b"0" * 64)]),
        referring(2, "file:///etc/passwd"),
        referring(3),
        referring(4),
        referring(5, f"{PREFIX}/%2e%2e/5"),
        referring(6),
        referring(7),
        referring(8, headers=[("ce_datarefhash", b"md5:1")]),
        referring(9, "no url at all"),
        referring(10),
        referring(11, headers=[("ce_servable", b"words")]),
        # Its value counts: both are the same, or the producer breaks CloudEvents' rule.
        referring(13, "file:///etc/passwd", value=b'{"instance": 13}'),
        referring(14, value=b""),
    ]
    world = a_world(records, guarantee, dataref=replace(ALLOWED, max_bytes=1000))

    world.run()

    assert outcomes(world) == {
        0: "2.0",
        1: "dataref_mismatch",
        2: "dataref_refused",
        3: "dataref_not_found",
        4: "dataref_too_large",
        5: "dataref_refused",
        6: "invalid_record",
        7: "invalid_record",
        8: "invalid_record",
        9: "invalid_record",
        10: "invalid_input",
        11: "dataref_not_found",
        13: "26.0",
        14: "dataref_not_found",
    }
    assert f"allowed: {PREFIX}" in message_of(world, 2)
    dead = {s.key: s for s in world.log.published if s.topic == "dead"}
    assert all(sent.value in (None, b"") for sent in dead.values())
    for outcome, count in {"mismatch": 1, "refused": 2, "not_found": 3, "too_large": 1}.items():
        assert world.metric("dataref_fetches_total", outcome=outcome) == count
    assert world.stages.intake.tracker.in_flight_bytes == 0
    assert {one["reason"] for one in logged("first_dead_letter")} == {
        *("dataref_mismatch", "dataref_refused", "dataref_not_found", "dataref_too_large"),
        *("invalid_record", "invalid_input"),
    }


def test_without_the_option_the_dead_letter_names_the_key() -> None:
    """A worker that fetches nothing says how to make it fetch, and has no thread for it."""
    world = World([referring(0), a_kafka_record(1, 1, partition=1)], Guarantee.AT_LEAST_ONCE)

    world.run()

    assert outcomes(world) == {0: "dataref_refused", 1: "2.0"}
    assert "set dataref.allow" in message_of(world, 0)
    assert world.stages.intake.fetcher is None
    assert world.stages.intake.gate is world.stages.inference.batcher


def test_records_of_one_key_keep_their_order_and_others_go_on() -> None:
    """Whatever comes first from the store; under at least once."""
    late, early = threading.Event(), threading.Event()

    def slow() -> bytes:
        assert late.wait(PATIENCE_SECONDS)
        return BODY

    def quick() -> bytes:
        early.set()
        return BODY

    scripted({"0": slow, "2": quick})
    one: dict[str, Any] = {"partition": 0, "key": b"one"}
    records = [
        referring(0, **one),
        a_kafka_record(1, 1.0, **one),
        referring(2, **one),
        a_kafka_record(3, 3.0, partition=0, key=b"other"),
        a_kafka_record(4, 4.0, partition=0, key=None),
    ]
    world = a_world(records, Guarantee.AT_LEAST_ONCE)

    def each_poll() -> None:
        if early.is_set() and {an_id(3), an_id(4)} <= set(world.log.ids()):
            late.set()

    world.each_poll = each_poll  # type: ignore[method-assign]
    world.run()

    ids = world.log.ids()
    assert set(ids[:2]) == {an_id(3), an_id(4)}
    assert ids[2:] == [an_id(0), an_id(1), an_id(2)]


class Flaky:
    """A body whose store is away for so many tries."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.failures = failures
        self.error = error

    def __call__(self) -> bytes:
        self.failures -= 1
        if self.failures >= 0:
            raise self.error
        return BODY


@guarantees
def test_a_store_that_is_away_is_waited_for(guarantee: Guarantee, logged: Logged) -> None:
    """It is told once that it is away, and once that it is back."""
    scripted({"0": Flaky(5, OSError("no route"))})
    world = a_world([referring(0)], guarantee)
    problems: list[str] = []

    def each_poll() -> None:
        assert world.stages.intake.fetcher is not None
        problems.extend(world.stages.intake.fetcher.threads.problems())

    world.each_poll = each_poll  # type: ignore[method-assign]
    world.run()

    assert outcomes(world) == {0: "2.0"}
    assert world.metric("dataref_fetches_total", outcome="failed") == 5
    problem = f"{PREFIX}/0 cannot be read: OSError: no route"
    assert logged("body_store_unavailable") == [{"store": PREFIX, "problem": problem}]
    assert [one["store"] for one in logged("body_store_recovered")] == [PREFIX]
    assert any("no route" in problem for problem in problems)
    assert world.stages.intake.fetcher is not None
    assert world.stages.intake.fetcher.threads.problems() == []


@guarantees
def test_a_store_that_stays_away_is_given_up_after_its_time(guarantee: Guarantee) -> None:
    """The dead letter has the last error; what does not need the store is answered."""
    scripted({"0": Flaky(10**9, OSError("no route"))})
    records = [referring(0), a_kafka_record(1, 1, partition=1)]
    world = a_world(records, guarantee, dataref=replace(ALLOWED, wait_seconds=0.02))

    world.run()

    assert outcomes(world) == {0: "dataref_unavailable", 1: "2.0"}
    assert "no route" in message_of(world, 0)


def test_while_a_store_is_away_it_is_asked_for_one_body_at_a_time() -> None:
    """However many wait for it, once those have failed that were being read."""
    away = threading.Event()
    at_once: list[int] = []

    def body() -> bytes:
        if away.is_set():
            return BODY
        if store.asked.total() > ALLOWED.threads:
            at_once.append(store.at_once)
        raise OSError("no route")

    store = scripted({str(number): body for number in range(30)})
    world = a_world([referring(n) for n in range(30)], Guarantee.AT_LEAST_ONCE)

    def each_poll() -> None:
        if len(at_once) >= 10:
            away.set()

    world.each_poll = each_poll  # type: ignore[method-assign]
    world.run()

    assert len(outcomes(world)) == 30
    assert set(at_once[:10]) == {1}


def test_a_deadline_ends_the_waiting() -> None:
    """Also where the store would be tried for longer, and before anything is asked."""
    store = scripted({"0": BODY, "1": BODY})
    past, future = b"2023-11-14T22:13:21Z", b"2033-01-01T00:00:00Z"
    records = [
        referring(0, headers=[("ce_expirytime", past)]),
        referring(1, headers=[("ce_expirytime", future)]),
    ]
    world = a_world(records, Guarantee.AT_LEAST_ONCE)

    world.run()

    assert outcomes(world) == {0: "deadline_exceeded", 1: "2.0"}
    assert "0" not in store.asked


def test_a_record_is_given_up_in_time_though_its_turn_does_not_come() -> None:
    """The only thread is held up by another body for as long as that may take."""
    over = threading.Event()

    def hang() -> bytes:
        over.wait(PATIENCE_SECONDS)
        return BODY

    scripted({"0": Flaky(10**9, OSError("no route")), "1": hang})
    config = replace(ALLOWED, threads=1, wait_seconds=0.3, timeout_seconds=2 * PATIENCE_SECONDS)
    world = a_world([referring(0), referring(1)], Guarantee.AT_LEAST_ONCE, dataref=config)
    world.each_poll = lambda: over.set() if world.log.published else None  # type: ignore[method-assign]

    try:
        world.run()
    finally:
        is_hanging = not over.is_set()
        over.set()

    assert not is_hanging
    assert outcomes(world) == {0: "dataref_unavailable", 1: "2.0"}
    assert world.log.ids()[0] == an_id(0)


def test_a_call_that_does_not_return_is_given_up_and_its_thread_replaced() -> None:
    """With one thread alone, other bodies come all the same, and that one is tried again."""
    over, hangs = threading.Event(), iter([True])

    def hang_once() -> bytes:
        if next(hangs, False):
            over.wait(PATIENCE_SECONDS)
        return BODY

    scripted({"0": hang_once, "1": BODY})
    config = replace(ALLOWED, threads=1, timeout_seconds=0.5)
    world = a_world([referring(0), referring(1)], Guarantee.AT_LEAST_ONCE, dataref=config)

    try:
        world.run()
    finally:
        is_hanging = not over.is_set()
        over.set()

    assert is_hanging
    assert outcomes(world) == {0: "2.0", 1: "2.0"}
    assert (world.metric("dataref_fetches_total", outcome="failed") or 0) >= 1


@guarantees
@pytest.mark.parametrize("size", [200_000, 900_000])
def test_bodies_stay_within_what_may_be_in_flight(guarantee: Guarantee, size: int) -> None:
    """But for one, which may always come: an epoch may wait for it."""
    most = 1_000_000
    pad = b" " * size
    scripted({str(number): a_body(number) + pad for number in range(40)})
    batching = BatchingConfig(max_batch_size=7, max_in_flight_bytes=most)
    config = replace(ALLOWED, max_bytes=most)
    world = a_world([referring(n) for n in range(40)], guarantee, dataref=config, batching=batching)
    tracker = world.stages.intake.tracker
    seen: list[int] = []
    count_bytes = tracker.count_bytes

    def count(size_bytes: int) -> None:
        count_bytes(size_bytes)
        seen.append(tracker.in_flight_bytes)

    tracker.count_bytes = count  # type: ignore[method-assign]
    world.run()

    assert outcomes(world) == {number: f"{2.0 * number}" for number in range(40)}
    assert max(seen) <= most + size + 10_000
    assert max(seen) > size
    assert tracker.in_flight_bytes == 0


@guarantees
def test_partitions_that_go_take_their_waiting_records_along(guarantee: Guarantee) -> None:
    """They are read again by the next owner, here by this one."""
    away, revoked = threading.Event(), threading.Event()

    def body() -> bytes:
        if not away.is_set():
            raise OSError("no route")
        return BODY

    scripted({str(number): body for number in range(30)})
    world = a_world([referring(n) for n in range(30)], guarantee, drain_timeout_seconds=0.0)

    def each_poll() -> None:
        if world.polls == 5 and not revoked.is_set():
            revoked.set()
            world.consumer.revoke(PARTITIONS[0])
            world.consumer.assign(PARTITIONS[0])
            away.set()

    world.each_poll = each_poll  # type: ignore[method-assign]
    world.run()

    assert outcomes(world) == dict.fromkeys(range(30), "2.0")
    assert len(world.log.published) == 30
    assert world.stages.intake.tracker.in_flight_bytes == 0
    assert world.metric("dataref_waiting_records") == 0


def test_enough_waiting_records_hold_their_partition() -> None:
    """What else is polled of it would only wait, and leave no room for others' records."""
    away = threading.Event()

    def body() -> bytes:
        assert away.wait(PATIENCE_SECONDS)
        return BODY

    count = FULL_RECORDS + 20
    scripted({str(number): body for number in range(count)})
    records = [referring(number, partition=0, key=b"%d" % number) for number in range(count)]
    world = a_world(records, Guarantee.AT_LEAST_ONCE, batching=BatchingConfig())
    held: list[bool] = []

    def each_poll() -> None:
        held.append(TopicPartition("in", 0) in world.consumer.paused)
        if held[-1]:
            away.set()

    world.each_poll = each_poll  # type: ignore[method-assign]
    world.run()

    assert any(held)
    assert len(outcomes(world)) == count


@guarantees
def test_a_stop_finishes_what_waits_for_its_body(guarantee: Guarantee) -> None:
    """The batch threads go on until the last body is there."""
    away = threading.Event()

    def body() -> bytes:
        assert away.wait(PATIENCE_SECONDS)
        return BODY

    scripted({"0": body})
    world = a_world([referring(0)], guarantee)

    def each_poll() -> None:
        if world.polls == 3:
            world.stop.set()
            threading.Timer(0.05, away.set).start()

    world.each_poll = each_poll  # type: ignore[method-assign]
    world.run()

    assert outcomes(world) == {0: "2.0"}
    assert metadata_of(world.log.committed[PARTITIONS[0]]) is not None


def test_results_that_are_refused_are_predicted_with_their_body_again() -> None:
    """After it was let go: it is fetched once more."""
    count = 30
    store = scripted({str(number): a_body(number) for number in range(count)})
    records = [referring(number, partition=0, key=None) for number in range(count)]
    world = a_world(records, Guarantee.AT_LEAST_ONCE)
    joined = gather_first(world, count)
    refused: set[str] = set()

    def fail_send(record: OutgoingRecord) -> RecordTooLargeError | None:
        record_id = (dict(record.headers)["ce_id"] or b"").decode()
        if record_id not in joined or record_id in refused:
            return None
        refused.add(record_id)
        return RecordTooLargeError("not beside others")

    world.producer.fail_send = fail_send
    world.run()

    assert outcomes(world) == {number: f"{2.0 * number}" for number in range(count)}
    assert refused
    assert store.asked.total() == count + len(refused)
    assert world.stages.intake.tracker.in_flight_bytes == 0


def gather_first(world: World, count: int) -> set[str]:
    """Let the batcher give nothing out before so many records are in it.

    Returns a set to which the ids of those are added that share their first batch.
    """
    batcher = world.stages.inference.batcher
    gathered, add, take = threading.Event(), batcher.add, batcher.take
    seen: list[int] = []
    taken: set[str] = set()
    joined: set[str] = set()

    def adding(requests: Sequence[Any], rejections: Sequence[Any], epoch: int) -> None:
        add(requests, rejections, epoch)
        seen.append(len(requests))
        if sum(seen) >= count:
            gathered.set()

    def taking() -> Batch | None:
        assert gathered.wait(PATIENCE_SECONDS)
        batch = take()
        ids = {one.input.record_id for one in batch.requests} - taken if batch else set()
        taken.update(ids)
        if len(ids) > 1:
            joined.update(ids)
        return batch

    batcher.add, batcher.take = adding, taking  # type: ignore[method-assign]
    return joined


def test_a_body_says_which_servable_answers_it() -> None:
    """Where the body goes is in the body: the servable is looked up once it is there."""
    request = PredictRequest()
    request.model_spec.name = "words"
    scripted({"0": request.SerializeToString()})
    record = referring(0, headers=[("content-type", b"application/x-protobuf")])
    world = a_world([record], Guarantee.AT_LEAST_ONCE)

    world.run()

    assert outcomes(world) == {0: "unknown_servable"}


@guarantees
def test_a_broken_answer_is_final_after_three_tries(guarantee: Guarantee) -> None:
    """The store is not taken for unavailable."""
    scripted({"0": Flaky(10**9, BrokenAnswerError("no HTTP")), "1": BODY})
    world = a_world([referring(0), referring(1)], guarantee)
    world.run()

    assert outcomes(world) == {0: "dataref_unavailable", 1: "2.0"}
    assert message_of(world, 0) == "not fetched in 3 tries: no HTTP"
    assert world.metric("dataref_fetches_total", outcome="failed") == 3


@guarantees
def test_bodies_that_always_fail_hold_up_no_others(guarantee: Guarantee) -> None:
    """More of them than threads, and in front of all others of the same store."""
    answered, bad = threading.Event(), 2 * ALLOWED.threads

    def good() -> bytes:
        if all(store.asked[str(n)] for n in range(bad + 20)):
            answered.set()
        return BODY

    def body() -> bytes:
        good()  # any of them may be the last one that is asked for
        if not answered.is_set():
            raise OSError("no route")
        return BODY

    names = {str(n): body if n < bad else good for n in range(bad + 20)}
    store = scripted(names)
    world = a_world([referring(n) for n in range(bad + 20)], guarantee)

    world.run()

    assert outcomes(world) == dict.fromkeys(range(bad + 20), "2.0")
