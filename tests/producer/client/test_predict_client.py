import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.support.stages.records import an_id
from tests.support.traffic.answers import Traffic, a_dead_letter, a_result
from topicserve.backends.errors import (
    AuthenticationError,
    BackendError,
    BackendUnavailableError,
    RecordTooLargeError,
)
from topicserve.producer.client.predict_client import PredictClient
from topicserve.producer.errors import DeadLetterError, PredictTimeoutError
from topicserve.wire.dead_letter import Reason
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import OutgoingRecord, TopicPartition

LIMIT_SECONDS = 10.0
Late = Callable[[OutgoingRecord], OutgoingRecord]
LATE: list[Late] = [
    lambda sent: a_result(sent, 1.0),
    lambda sent: a_dead_letter(sent, Reason.DEADLINE_EXCEEDED, "1 s too late"),
]


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    """Return topics of a test's own, whose consumers notice soon that they are closed."""
    monkeypatch.setattr("topicserve.producer.client.listener.POLL_SECONDS", 0.01)
    return Traffic()


def a_client(traffic: Traffic, **options: Any) -> PredictClient:
    """Return a client that is closed by its context."""
    return PredictClient(traffic.core(), **options)


def test_a_request_returns_its_result(traffic: Traffic) -> None:
    """As a reader decodes it, and its metadata was stored before."""
    with a_client(traffic) as client:
        result = client.predict({"x": [1.0, 2.0]}, metadata={"user": 7}, record_id=an_id(1))

    assert (result.record_id, result.value, result.version) == (an_id(1), [1.0, 1.0], 3)
    assert traffic.store.content == {an_id(1): b'{"user":7}'}


def test_many_threads_each_get_their_own_result(traffic: Traffic) -> None:
    """Answers in any order find their requests; those of other clients are passed over."""
    held: list[OutgoingRecord] = []
    threads = 8

    def shuffled(sent: OutgoingRecord) -> list[OutgoingRecord]:
        held.append(sent)
        if len(held) < threads:
            return []
        others = [a_result(OutgoingRecord("in", b"k", one.value, other(one))) for one in held]
        return [*others, *(a_result(one, float(one.key or b"")) for one in reversed(held))]

    traffic.answer = shuffled
    with a_client(traffic) as client, ThreadPoolExecutor(threads) as pool:
        asked = [
            pool.submit(client.predict, instance=[0.0], key=str(number))
            for number in range(threads)
        ]
        values = [one.result(LIMIT_SECONDS).value for one in asked]

    assert values == [float(number) for number in range(threads)]


def other(sent: OutgoingRecord) -> list[tuple[str, bytes | None]]:
    """Return a record's headers with the id of another client's request."""
    return [
        (name, an_id(77).encode() if name == "ce_id" else value) for name, value in sent.headers
    ]


def test_a_second_copy_of_a_result_is_passed_over(traffic: Traffic) -> None:
    """Workers deliver at least once."""
    traffic.answer = lambda sent: [a_result(sent, 1.0), a_result(sent, 1.0)]

    with a_client(traffic) as client:
        values = [client.predict(instance=[0.0]).value for _ in range(3)]

    assert values == [1.0, 1.0, 1.0]


def test_a_dead_letter_raises_with_its_reason(traffic: Traffic) -> None:
    """And with the record as it was given up."""
    traffic.answer = lambda sent: [a_dead_letter(sent, Reason.INVALID_INPUT, "x: has 2 values")]

    with (
        a_client(traffic) as client,
        pytest.raises(DeadLetterError, match="has 2 values") as caught,
    ):
        client.predict({"x": [1.0]}, record_id=an_id(1))

    assert (caught.value.reason, caught.value.record_id) == (Reason.INVALID_INPUT, an_id(1))
    assert caught.value.dead_letter.record.offset == 7


def test_a_deadline_that_a_worker_finds_passed_is_a_timeout(traffic: Traffic) -> None:
    """It is the same to the caller who of the two notices first."""
    traffic.answer = lambda sent: [a_dead_letter(sent, Reason.DEADLINE_EXCEEDED, "1 s too late")]

    with a_client(traffic) as client, pytest.raises(TimeoutError, match="1 s too late"):
        client.predict({"x": [1.0]})


def test_a_result_that_cannot_be_read_fails_its_request_alone(traffic: Traffic) -> None:
    """The next request is answered."""
    broken = iter([True, False])

    def answer(sent: OutgoingRecord) -> list[OutgoingRecord]:
        result = a_result(sent)
        if next(broken):
            return [OutgoingRecord(result.topic, result.key, b"not json", result.headers)]
        return [result]

    traffic.answer = answer
    with a_client(traffic) as client:
        with pytest.raises(InvalidRecordError, match="is not a result"):
            client.predict(instance=[0.0])
        assert client.predict(instance=[0.0]).value == 1.0


def test_a_request_without_an_answer_says_where_its_record_is(traffic: Traffic) -> None:
    """It was published, and the reader is not behind: a worker may be missing."""
    traffic.answer = lambda _: []

    with (
        a_client(traffic) as client,
        pytest.raises(PredictTimeoutError, match=r"in-0 offset 0; .*is a worker reading"),
    ):
        client.predict({"x": [1.0]}, timeout=0.5)


def test_a_reader_that_is_behind_says_so(traffic: Traffic, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result may be there and not read yet."""
    monkeypatch.setattr("topicserve.producer.client.listener._STATS_SECONDS", 0.0)
    traffic.lag_records = 4200

    with a_client(traffic) as client:
        client.predict({"x": [1.0]})
        traffic.answer = lambda _: []
        with pytest.raises(PredictTimeoutError, match="reader of results is 4,200 records behind"):
            client.predict({"x": [1.0]}, timeout=0.5)


def test_a_record_that_cannot_be_published_fails_its_request(traffic: Traffic) -> None:
    """With the reason, at once, and its metadata is gone."""
    traffic.producer.fail_send = lambda _: RecordTooLargeError("larger than 1 MiB")
    traffic.answer = lambda _: []

    with a_client(traffic) as client, pytest.raises(RecordTooLargeError):
        client.predict({"x": [1.0]}, metadata={"user": 7}, timeout=LIMIT_SECONDS)

    assert traffic.store.content == {}


def test_an_invalid_record_is_refused_before_anything_starts(traffic: Traffic) -> None:
    """The field is named; nothing was opened."""
    with a_client(traffic) as client, pytest.raises(InvalidRecordError, match="instances"):
        client.predict(instances=[])

    assert traffic.consumers == []


def test_an_id_in_use_is_refused(traffic: Traffic) -> None:
    """Its result would answer two requests."""
    traffic.answer = lambda _: []
    with a_client(traffic) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.predict, {"x": [1.0]}, record_id=an_id(1))
        assert traffic.come.wait(LIMIT_SECONDS)
        with pytest.raises(InvalidRecordError, match="another request"):
            client.predict({"x": [1.0]}, record_id=an_id(1))
        client.close()
        assert isinstance(first.exception(LIMIT_SECONDS), BackendUnavailableError)


@pytest.mark.parametrize("late", LATE, ids=["result", "dead letter"])
def test_what_is_late_is_not_the_next_calls_of_its_id(traffic: Traffic, late: Late) -> None:
    """Another call with the same record id waits for its own result."""
    core = traffic.core()
    held: list[OutgoingRecord] = []

    def answer(sent: OutgoingRecord) -> list[OutgoingRecord]:
        held.append(sent)
        return [] if len(held) == 1 else [late(held[0]), a_result(sent, 2.0)]

    traffic.answer = answer
    with PredictClient(core) as client:
        client.wait_ready(LIMIT_SECONDS)
        given_up = core.open(core.encode(core.record([1.0], {"record_id": "order-1"}, 1.0)))
        core.publisher.put(given_up.entry, LIMIT_SECONDS)
        assert traffic.come.wait(LIMIT_SECONDS)
        core.drop(given_up)  # as a call does that times out

        result = client.predict(instance=[0.0], record_id="order-1", timeout=LIMIT_SECONDS)

    assert result.value == 2.0


def test_a_record_that_fails_late_does_not_fail_the_next_call_of_its_id(traffic: Traffic) -> None:
    """It was given up before the broker refused it."""
    core = traffic.core()
    encoded = core.encode(core.record([1.0], {"record_id": "order-1"}, LIMIT_SECONDS))
    first = core.open(encoded)
    core.drop(first)
    second = core.open(encoded)

    core.requests.fail("order-1", first.future, RecordTooLargeError("late"))
    core.drop(first)

    assert not second.future.done()
    assert len(core.requests) == 1


def test_a_result_of_a_worker_that_carries_no_call_back_is_found_by_its_id(
    traffic: Traffic,
) -> None:
    """Workers of before the header are."""

    def answer(sent: OutgoingRecord) -> list[OutgoingRecord]:
        result = a_result(sent)
        kept = [header for header in result.headers if header[0] != "topicserve-request"]
        assert len(kept) == len(result.headers) - 1
        return [OutgoingRecord(result.topic, result.key, result.value, kept)]

    traffic.answer = answer
    with a_client(traffic) as client:
        assert client.predict(instance=[0.0]).value == 1.0


def test_a_store_that_is_away_is_named(traffic: Traffic) -> None:
    """Not the broker; and closing waits for neither: no one waits for the record any more."""
    asked = threading.Event()

    def away() -> BackendError:
        asked.set()
        return BackendUnavailableError("Redis is not available: refused")

    traffic.store.fail = away
    client = PredictClient(traffic.core(timeout_seconds=3600))
    client.wait_ready(LIMIT_SECONDS)
    with pytest.raises(PredictTimeoutError) as caught:
        client.predict(instance=[0.0], metadata={"user": 7}, timeout=2)
    assert asked.wait(LIMIT_SECONDS)
    closing = threading.Thread(target=client.close, args=(3600,), daemon=True)
    closing.start()
    closing.join(60)

    assert str(caught.value).endswith(
        "was not published within 2 s: its metadata could not be stored: "
        "Redis is not available: refused"
    )
    assert not closing.is_alive()
    assert traffic.log.ids() == []


def test_a_store_that_does_not_answer_is_named(traffic: Traffic) -> None:
    """As long as its own time limit has not passed."""
    answers = threading.Event()

    def hanging() -> None:
        assert answers.wait(LIMIT_SECONDS)

    traffic.store.fail = hanging
    with a_client(traffic) as client:
        client.wait_ready(LIMIT_SECONDS)
        with pytest.raises(PredictTimeoutError, match="metadata store has not answered yet"):
            client.predict(instance=[0.0], metadata={"user": 7}, timeout=2)
        answers.set()


def test_a_reader_that_is_not_connected_is_named(traffic: Traffic) -> None:
    """With what keeps it; a request that has its turn waits for no others."""
    traffic.fail_ends = BackendUnavailableError("no broker at 127.0.0.1:1")

    with (
        a_client(traffic) as client,
        pytest.raises(
            PredictTimeoutError,
            match=r"^not published: results could not be read within 2 s: no broker at 127",
        ),
    ):
        client.predict(instance=[0.0], timeout=2)


def test_requests_are_bounded(traffic: Traffic) -> None:
    """One more than may wait has its turn within its own timeout, or says so."""
    traffic.answer = lambda _: []
    with a_client(traffic, max_pending_requests=1) as client, ThreadPoolExecutor(1) as pool:
        first = pool.submit(client.predict, {"x": [1.0]}, timeout=LIMIT_SECONDS)
        assert traffic.come.wait(LIMIT_SECONDS)
        with pytest.raises(PredictTimeoutError, match="1 requests were waiting"):
            client.predict({"x": [1.0]}, timeout=0.01)
        client.close()
        assert first.exception(LIMIT_SECONDS) is not None

    assert len(traffic.log.ids()) == 1


def test_closing_fails_the_requests_that_wait(traffic: Traffic) -> None:
    """At once, with what happened; afterwards each request says the same."""
    traffic.answer = lambda _: []
    client = a_client(traffic)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.predict, {"x": [1.0]}, timeout=LIMIT_SECONDS)
        assert traffic.come.wait(LIMIT_SECONDS)

        client.close()

        error = waiting.exception(LIMIT_SECONDS)
    assert isinstance(error, BackendUnavailableError)
    assert "closed before the result came" in str(error)
    assert traffic.consumers[0].closed
    assert traffic.producer.closed
    with pytest.raises(BackendUnavailableError, match="the client is closed"):
        client.predict({"x": [1.0]})


def test_closing_ends_the_wait_for_a_connection(traffic: Traffic) -> None:
    """A request that waits for a broker does not wait for its timeout."""
    opening, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        opening.set()
        assert go_on.wait(LIMIT_SECONDS)

    traffic.fail_open = hold
    client = a_client(traffic, timeout_seconds=LIMIT_SECONDS * 6)
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(client.predict, {"x": [1.0]})
        assert opening.wait(LIMIT_SECONDS)
        closing = threading.Thread(target=client.close)
        closing.start()
        error = waiting.exception(LIMIT_SECONDS)
        go_on.set()
        closing.join(LIMIT_SECONDS)

    assert str(error) == "the client was closed"
    assert traffic.log.ids() == []


def test_it_reads_from_the_end_that_the_topics_had(traffic: Traffic) -> None:
    """What was polled from before is not looked at, and no request is published earlier."""
    published_at_open: list[int] = []

    def note() -> BackendError | None:
        published_at_open.append(len(traffic.log.ids()))
        return None

    traffic.fail_open = note
    with a_client(traffic) as client:
        client.predict({"x": [1.0]})

    assert traffic.consumers[0].sought == {
        TopicPartition("results", 0): 100,
        TopicPartition("dead-letters", 0): 50,
    }
    assert published_at_open == [0]


def test_what_keeps_it_from_reading_is_told_and_tried_again(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Credentials that are wrong fail each request at once, until they are right."""
    monkeypatch.setattr("topicserve.producer.client.listener._RETRY_SECONDS", 0.0)
    wrong = threading.Event()
    wrong.set()
    traffic.fail_open = lambda: AuthenticationError("refused") if wrong.is_set() else None

    with a_client(traffic) as client:
        with pytest.raises(AuthenticationError):
            client.wait_ready(LIMIT_SECONDS)
        with pytest.raises(AuthenticationError):
            client.predict({"x": [1.0]})
        wrong.clear()
        assert traffic.opened.acquire(timeout=LIMIT_SECONDS)
        assert client.predict({"x": [1.0]}).value == [1.0]


def test_a_reader_that_fails_fails_its_requests_and_reads_on_behind_them(
    traffic: Traffic, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The next consumer starts where the last one was."""
    monkeypatch.setattr("topicserve.producer.client.listener._RETRY_SECONDS", 0.0)
    with a_client(traffic) as client:
        client.predict({"x": [1.0]})
        traffic.consumers[0].fail(AuthenticationError("revoked"))
        assert all(traffic.opened.acquire(timeout=LIMIT_SECONDS) for _ in range(2))
        assert client.predict({"x": [1.0]}).value == [1.0]

    assert traffic.consumers[0].closed
    assert traffic.consumers[1].sought[TopicPartition("results", 0)] == 101
