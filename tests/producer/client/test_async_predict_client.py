import asyncio
import threading
from typing import Any

import pytest

from tests.support.stages.records import an_id
from tests.support.traffic.answers import Traffic, a_dead_letter, a_result
from topicserve.backends.errors import (
    AuthenticationError,
    BackendUnavailableError,
    RecordTooLargeError,
)
from topicserve.producer.client.async_predict_client import AsyncPredictClient
from topicserve.producer.errors import DeadLetterError, PredictTimeoutError
from topicserve.wire.dead_letter import Reason
from topicserve.wire.kafka_record import OutgoingRecord

LIMIT_SECONDS = 10.0


@pytest.fixture
def traffic(monkeypatch: pytest.MonkeyPatch) -> Traffic:
    """Return topics of a test's own, whose consumers notice soon that they are closed."""
    monkeypatch.setattr("topicserve.producer.client.listener.POLL_SECONDS", 0.01)
    return Traffic()


def a_client(traffic: Traffic, **options: Any) -> AsyncPredictClient:
    """Return a client that is closed by its context."""
    return AsyncPredictClient(traffic.core(), **options)


async def sent(traffic: Traffic) -> None:
    """Wait until a record was sent."""
    assert await asyncio.to_thread(traffic.come.wait, LIMIT_SECONDS)


def test_requests_side_by_side_each_get_their_own_result(traffic: Traffic) -> None:
    """In one loop, answered in another order than they were asked."""
    held: list[OutgoingRecord] = []

    def backwards(record: OutgoingRecord) -> list[OutgoingRecord]:
        held.append(record)
        if len(held) < 50:
            return []
        return [a_result(one, float(one.key or b"")) for one in reversed(held)]

    async def ask() -> list[Any]:
        async with a_client(traffic) as client, asyncio.TaskGroup() as tasks:
            asked = [
                tasks.create_task(client.predict(instance=[0.0], key=str(number)))
                for number in range(50)
            ]
        return [one.result().value for one in asked]

    traffic.answer = backwards
    assert asyncio.run(ask()) == [float(number) for number in range(50)]


def test_metadata_is_stored_before_the_record_is_sent(traffic: Traffic) -> None:
    """As the synchronous client's is."""

    async def ask() -> None:
        async with a_client(traffic) as client:
            await client.predict({"x": [1.0]}, metadata={"user": 7}, record_id=an_id(1))

    asyncio.run(ask())
    assert traffic.store.content == {an_id(1): b'{"user":7}'}


def test_the_loop_goes_on_while_the_store_answers_slowly(traffic: Traffic) -> None:
    """The store, the broker and a full backlog are waited for by other threads."""
    go_on = threading.Event()

    def slow() -> None:
        assert go_on.wait(LIMIT_SECONDS)

    async def ask() -> int:
        core = traffic.core(max_records=1)
        async with AsyncPredictClient(core) as client, asyncio.TaskGroup() as tasks:
            for _ in range(3):  # the second waits for room, the third for its turn
                tasks.create_task(client.predict({"x": [1.0]}, metadata={"user": 7}))
            turns = 0
            while len(core.requests) < 3:
                turns += 1
                await asyncio.sleep(0)
            go_on.set()
        return turns

    traffic.store.fail = slow
    assert asyncio.run(ask()) > 0


def test_a_dead_letter_raises_with_its_reason(traffic: Traffic) -> None:
    """In the task that waits."""
    traffic.answer = lambda sent: [a_dead_letter(sent, Reason.PREDICT_FAILED, "NaN")]

    async def ask() -> None:
        async with a_client(traffic) as client:
            await client.predict({"x": [1.0]})

    with pytest.raises(DeadLetterError, match="NaN") as caught:
        asyncio.run(ask())
    assert caught.value.reason is Reason.PREDICT_FAILED


def test_a_request_without_an_answer_times_out(traffic: Traffic) -> None:
    """And is forgotten."""
    traffic.answer = lambda _: []

    async def ask() -> None:
        core = traffic.core()
        async with AsyncPredictClient(core) as client:
            with pytest.raises(PredictTimeoutError, match="in-0 offset 0"):
                await client.predict({"x": [1.0]}, timeout=0.5)
            assert len(core.requests) == 0

    asyncio.run(ask())


def test_a_callers_own_timeout_cancels_the_request(traffic: Traffic) -> None:
    """Its late result is passed over, and the client goes on."""
    held: list[OutgoingRecord] = []

    def hold(record: OutgoingRecord) -> list[OutgoingRecord]:
        held.append(record)
        return []

    async def ask() -> Any:
        core = traffic.core()
        async with AsyncPredictClient(core) as client:
            task = asyncio.create_task(client.predict({"x": [1.0]}))
            await sent(traffic)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert len(core.requests) == 0
            traffic.answer = lambda record: [a_result(held[0], 9.0), a_result(record, 1.0)]
            return (await client.predict(instance=[0.0])).value

    traffic.answer = hold
    assert asyncio.run(ask()) == 1.0


def test_a_request_that_is_cancelled_before_it_is_sent_is_not_sent(traffic: Traffic) -> None:
    """Nor is its metadata stored."""
    storing, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        storing.set()
        assert go_on.wait(LIMIT_SECONDS)

    async def ask() -> None:
        core = traffic.core()
        async with AsyncPredictClient(core) as client:
            first = asyncio.create_task(
                client.predict({"x": [1.0]}, metadata={"n": 1}, record_id=an_id(1))
            )
            assert await asyncio.to_thread(storing.wait, LIMIT_SECONDS)
            second = asyncio.create_task(
                client.predict({"x": [1.0]}, metadata={"n": 2}, record_id=an_id(2))
            )
            while len(core.requests) < 2:
                await asyncio.sleep(0)
            second.cancel()
            with pytest.raises(asyncio.CancelledError):
                await second
            go_on.set()
            await first

    traffic.store.fail = slow
    asyncio.run(ask())
    assert traffic.log.ids() == [an_id(1)]
    assert set(traffic.store.content) == {an_id(1)}


def test_a_record_that_cannot_be_published_fails_its_request(traffic: Traffic) -> None:
    """At once, with the reason."""
    traffic.producer.fail_send = lambda _: RecordTooLargeError("larger than 1 MiB")
    traffic.answer = lambda _: []

    async def ask() -> None:
        async with a_client(traffic) as client:
            await client.predict({"x": [1.0]}, timeout=LIMIT_SECONDS)

    with pytest.raises(RecordTooLargeError):
        asyncio.run(ask())


def test_closing_fails_the_requests_that_wait(traffic: Traffic) -> None:
    """Each task hears of it."""
    traffic.answer = lambda _: []

    async def ask() -> list[Any]:
        client = a_client(traffic)
        tasks = [asyncio.create_task(client.predict({"x": [1.0]})) for _ in range(3)]
        await sent(traffic)
        await client.close()
        return await asyncio.gather(*tasks, return_exceptions=True)

    assert [type(error) for error in asyncio.run(ask())] == [BackendUnavailableError] * 3


def test_what_is_late_is_not_the_next_calls_of_its_id(traffic: Traffic) -> None:
    """Another call with the same record id waits for its own result."""
    core = traffic.core()
    held: list[OutgoingRecord] = []

    def answer(record: OutgoingRecord) -> list[OutgoingRecord]:
        held.append(record)
        return [] if len(held) == 1 else [a_result(held[0], 1.0), a_result(record, 2.0)]

    async def ask() -> Any:
        async with AsyncPredictClient(core) as client:
            await client.wait_ready(LIMIT_SECONDS)
            given_up = core.open(core.encode(core.record([1.0], {"record_id": "order-1"}, 1.0)))
            core.publisher.put(given_up.entry, LIMIT_SECONDS)
            await sent(traffic)
            core.drop(given_up)  # as a call does that times out
            return await client.predict(instance=[0.0], record_id="order-1")

    traffic.answer = answer
    assert asyncio.run(ask()).value == 2.0


def test_requests_are_bounded(traffic: Traffic) -> None:
    """No more are published than may wait for results."""
    traffic.answer = lambda _: []

    async def ask() -> None:
        async with a_client(traffic, max_pending_requests=2) as client:
            tasks = [
                asyncio.create_task(client.predict({"x": [1.0]}, timeout=timeout))
                for timeout in (LIMIT_SECONDS, LIMIT_SECONDS, 0.05)
            ]
            with pytest.raises(PredictTimeoutError, match="not published"):
                await tasks[2]
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    asyncio.run(ask())
    assert len(traffic.log.ids()) == 2


def test_what_keeps_it_from_reading_is_told(traffic: Traffic) -> None:
    """While it starts, and to each request."""
    traffic.fail_open = lambda: AuthenticationError("refused")

    async def ask() -> None:
        async with a_client(traffic) as client:
            with pytest.raises(AuthenticationError):
                await client.wait_ready(LIMIT_SECONDS)

    asyncio.run(ask())
