"""Results that the output topic is known to refuse are never sent."""

from typing import Any

import pytest

from tests.support.servables.servables import Served
from tests.support.stages.deliveries import limit_of
from tests.support.stages.logged import Logged
from tests.support.stages.records import ManualClock, a_kafka_record, an_id
from tests.worker.stages.calls.test_second_tries import GUARANTEES, Padding, reason_of
from tests.worker.test_pipeline import World
from topicserve.backends.errors import (
    AuthenticationError,
    BackendError,
    BackendUnavailableError,
    RecordTooLargeError,
)
from topicserve.wire.kafka_record import OutgoingRecord, batch_bytes
from topicserve.worker.config.schema import BatchingConfig, Guarantee
from topicserve.worker.runtime.topic_limit import (
    ASK_AGAIN_SECONDS,
    TopicLimit,
    batch_settings,
)

LIMIT_BYTES = 3000


class FakeAdmin:
    """Answers what a test wants to one question."""

    def __init__(self, answer: str | None = str(LIMIT_BYTES)) -> None:
        self.answer = answer
        self.error: BackendError | None = None

    def topic_config(self, topic: str, name: str, timeout_seconds: float) -> str | None:  # noqa: ARG002
        assert (topic, name) == ("out", "max.message.bytes")
        if self.error is not None:
            raise self.error
        return self.answer


def a_limit(admin: Any = None, clock: ManualClock | None = None) -> TopicLimit:
    """Return a limit that was asked for once."""
    limit = TopicLimit("out", clock or ManualClock())
    told: Any = admin or FakeAdmin()
    limit.ask(told, 1.0)
    return limit


@GUARANTEES
def test_known_refusals_cost_no_send_and_no_transaction(guarantee: Guarantee) -> None:
    """One dead letter for each record that is too large alone, a result for all others."""
    made = [
        a_kafka_record(n, float(2000 if n % 3 == 1 else 1 + n % 2), partition=n % 3)
        for n in range(60)
    ]
    world = World(made, guarantee, Served({1: Padding()}), limit=a_limit())
    refused = []

    def refuse(sent: OutgoingRecord) -> BackendError | None:
        if sent.topic != "out" or batch_bytes(sent) <= LIMIT_BYTES:
            return None
        refused.append(sent)
        return RecordTooLargeError("too large")

    world.producer.fail_send = refuse

    world.run()

    assert (len(refused), world.producer.aborted) == (0, 0)
    by_id = {dict(sent.headers)["ce_id"]: sent for sent in world.log.published}
    assert len(by_id) == len(world.log.published) == 60
    for n in range(60):
        reason = reason_of(by_id[an_id(n).encode()])
        assert reason == ("result_too_large" if n % 3 == 1 else None)
    assert world.metric("dead_letters_total", reason="result_too_large") == 20
    assert (
        world.stages.intake.tracker.outcome_bytes,
        world.stages.intake.tracker.in_flight_records,
    ) == (0, 0)


@GUARANTEES
def test_dead_letters_lose_what_their_own_size_asks_for_before_they_are_sent(
    guarantee: Guarantee,
) -> None:
    """None is refused, so no transaction is aborted; one that just fits loses nothing."""
    letters = TopicLimit("in.dead-letter")

    def run(max_bytes: int | None) -> World:
        letters.max_bytes = max_bytes
        made = [a_kafka_record(n, value=b"{" + bytes(500 * n)) for n in range(6)]
        world = World(made, guarantee, letters=letters)
        world.producer.fail_send = lambda sent: (
            RecordTooLargeError("too large")
            if max_bytes is not None and batch_bytes(sent) > max_bytes
            else None
        )
        world.run()
        return world

    whole = {len(sent.value or b""): batch_bytes(sent) for sent in run(None).log.published}
    world = run(whole[1501])

    assert world.producer.aborted == 0
    assert world.metric("dead_letters_truncated_total") == 2
    assert world.metric("failed_deliveries_total") == 0
    kept = {dict(sent.headers)["ce_id"]: sent for sent in world.log.published}
    assert [len(kept[an_id(n).encode()].value or b"") for n in range(6)] == [
        *(1, 501, 1001, 1501, 0, 0)
    ]
    assert dict(kept[an_id(5).encode()].headers)["topicserve-truncated"] == b"value=2501"
    assert all("ce_source" in dict(sent.headers) for sent in world.log.published)


def test_the_largest_record_that_fits_is_not_refused() -> None:
    """One byte more is."""
    limit = a_limit()
    fits = OutgoingRecord("out", b"k", b"v" * 2925, [("h", b"x")])
    assert batch_bytes(fits) == LIMIT_BYTES

    assert limit.refusal(fits) is None
    too_large = limit.refusal(OutgoingRecord("out", b"k", b"v" * 2926, [("h", b"x")]))

    assert str(too_large) == (
        "the record takes 3001 bytes, and the topic 'out' at most 3000 (max.message.bytes)"
    )


@pytest.mark.parametrize("error", [None, AuthenticationError("not allowed")])
def test_a_limit_that_is_not_told_refuses_nothing(
    error: BackendError | None, logged: Logged
) -> None:
    """The broker does, then."""
    admin = FakeAdmin(None)
    admin.error = error

    limit = a_limit(admin)

    assert limit.refusal(OutgoingRecord("out", None, bytes(100_000_000))) is None
    told = [] if error is None else [{"topic": "out", "problem": "not allowed"}]
    assert logged("topic_limit_unknown") == told


def test_a_broker_that_does_not_answer_leaves_what_is_known() -> None:
    """The watch asks again."""
    admin = FakeAdmin()
    limit = a_limit(admin)
    admin.error = BackendUnavailableError("away")

    with pytest.raises(BackendUnavailableError):
        limit.ask(admin, 1.0)  # type: ignore[arg-type]

    assert limit.max_bytes == LIMIT_BYTES


def test_a_limit_is_asked_for_again_only_while_results_are_refused() -> None:
    """At most once a minute: an operator may have raised it."""
    clock, admin = ManualClock(), FakeAdmin()
    limit = a_limit(admin, clock)

    clock.advance(ASK_AGAIN_SECONDS)
    before = limit.is_due()
    limit.note_refusal()
    after = limit.is_due()
    admin.answer = "5000"
    limit.ask(admin, 1.0)  # type: ignore[arg-type]

    assert (before, after, limit.is_due(), limit.max_bytes) == (False, True, False, 5000)


def test_a_refusal_tells_a_limit_that_no_broker_tells() -> None:
    """One abort tells what another would; without it each record costs an abort or two."""
    limit = TopicLimit("out")
    made = [a_kafka_record(n, 2000.0 if n % 3 else 1.0) for n in range(60)]
    # Alone and with metadata alike: a refusal tells the limit of results as large as its own.
    alone = BatchingConfig(max_batch_size=1, max_in_flight_records=40)
    served = Served({1: Padding()})
    world = World(made, Guarantee.EXACTLY_ONCE, served, limit=limit, batching=alone)
    world.store.content = dict.fromkeys(world.store.content, b'{"n":1}')
    world.producer.fail_send = limit_of(LIMIT_BYTES)

    world.run()

    reasons = [reason_of(sent) for sent in world.log.published]
    assert sorted(map(str, reasons)) == ["None"] * 20 + ["result_too_large"] * 40
    assert world.producer.aborted == 1
    assert limit.max_bytes is not None
    assert limit.max_bytes >= LIMIT_BYTES


@GUARANTEES
def test_a_refused_dead_letter_has_the_next_ones_cut_before_they_are_sent(
    guarantee: Guarantee,
) -> None:
    """The dead-letter topic's limit is its own, and says nothing about results."""
    results, letters = TopicLimit("out"), TopicLimit("dead")
    made = [a_kafka_record(n, value=b"{" + bytes(3000)) for n in range(40)]
    world = World(made, guarantee, limit=results, letters=letters)
    refused = []

    def refuse(sent: OutgoingRecord) -> BackendError | None:
        if batch_bytes(sent) <= LIMIT_BYTES:
            return None
        refused.append(sent)
        return RecordTooLargeError("too large")

    world.producer.fail_send = refuse

    world.run()

    assert [dict(sent.headers)["topicserve-truncated"] for sent in world.log.published] == [
        *[b"value=3001"] * 40
    ]
    assert world.producer.aborted == (1 if guarantee is Guarantee.EXACTLY_ONCE else 0)
    assert (results.max_bytes, letters.max_bytes) == (None, batch_bytes(refused[0]) - 1)


def test_the_smallest_refused_record_counts_until_the_limit_is_asked_for() -> None:
    """A larger one says nothing new; a compressed one says nothing of those to come."""
    limit, compressed = a_limit(), TopicLimit("out", refuses=False)
    small, large = (OutgoingRecord("out", None, bytes(size)) for size in (1000, 2000))

    for one in (small, large):
        limit.note_refusal(one)
        compressed.note_refusal(one)
    learned = limit.max_bytes
    limit.ask(FakeAdmin(), 1.0)  # type: ignore[arg-type]

    assert learned == batch_bytes(small) - 1
    assert (limit.max_bytes, compressed.max_bytes) == (LIMIT_BYTES, None)


@GUARANTEES
def test_a_refusal_by_the_broker_has_the_limit_asked_for(guarantee: Guarantee) -> None:
    """It may not have been told, or have been lowered since."""
    clock = ManualClock()
    limit = TopicLimit("out", clock)
    world = World([a_kafka_record(0, 2000.0)], guarantee, Served({1: Padding()}), limit=limit)
    world.producer.fail_send = limit_of(LIMIT_BYTES)

    world.run()
    clock.advance(ASK_AGAIN_SECONDS)

    assert [reason_of(sent) for sent in world.log.published] == ["result_too_large"]
    assert limit.is_due()


def test_a_limit_where_results_are_compressed_refuses_nothing() -> None:
    """What a record takes is known to the client alone."""
    limit = TopicLimit("out", refuses=False)
    limit.max_bytes = LIMIT_BYTES

    assert limit.refusal(OutgoingRecord("out", None, bytes(100_000_000))) is None


@pytest.mark.parametrize(
    ("known", "settings"),
    [
        ([], {}),
        ([None, None], {}),
        ([1_048_588, None], {}),
        ([256 * 1024, 1_048_588], {"batch.size": 255 * 1024}),
        ([1_048_588, 100_000], {"batch.size": 98_976}),
        ([0], {"batch.size": 1}),
    ],
)
def test_no_batch_of_several_records_is_larger_than_a_topic_takes(
    known: list[int | None], settings: dict[str, object]
) -> None:
    """The least of the topics' limits counts; where all are large the default stays."""
    limits = [TopicLimit("out") for _ in known]
    for limit, max_bytes in zip(limits, known, strict=True):
        limit.max_bytes = max_bytes

    assert batch_settings(limits) == settings
