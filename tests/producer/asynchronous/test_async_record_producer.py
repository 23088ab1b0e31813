import asyncio
import threading
from contextlib import suppress
from typing import Any

import numpy as np
import pytest

from tests.support.kafka.kafka_doubles import MemoryLog, MemoryProducer
from tests.support.stages.fakes import HeldProducer, MemoryMetadataStore
from tests.support.stages.records import an_id
from topicserve.backends.errors import BacklogFullError, RecordTooLargeError
from topicserve.producer.asynchronous.queueing import is_large
from topicserve.producer.asynchronous.record_producer import AsyncRecordProducer
from topicserve.producer.errors import PublishError
from topicserve.producer.record import Record
from topicserve.wire.errors import InvalidRecordError

LIMIT_SECONDS = 10.0


class Setup:
    """A producer on a log in memory."""

    def __init__(self) -> None:
        self.log = MemoryLog()
        self.kafka = MemoryProducer(self.log)
        self.store = MemoryMetadataStore()

    def producer(self, **options: Any) -> AsyncRecordProducer:
        return AsyncRecordProducer(self.kafka, self.store, "digits", **options)


@pytest.fixture
def setup() -> Setup:
    """Return connections of a test's own."""
    return Setup()


def numbered(count: int) -> list[Record]:
    """Return records whose ids and metadata say their number."""
    return [Record(instance=n, record_id=an_id(n), metadata={"n": n}) for n in range(count)]


def test_records_are_published_in_order_and_their_futures_say_where(setup: Setup) -> None:
    """Each with its metadata stored before."""

    async def publish() -> list[Any]:
        async with setup.producer() as producer:
            futures = await producer.publish_many(numbered(300))
            assert [future.record_id for future in futures] == [an_id(n) for n in range(300)]
            return await asyncio.gather(*futures)

    places = asyncio.run(publish())

    assert places == [("digits", 0, n) for n in range(300)]
    assert setup.log.ids() == [an_id(n) for n in range(300)]
    assert len(setup.store.content) == 300


def test_tasks_that_wait_for_room_keep_their_order(setup: Setup) -> None:
    """While the loop goes on: it is what makes room here."""
    go_on = threading.Event()

    def slow() -> None:
        assert go_on.wait(LIMIT_SECONDS)

    async def publish() -> None:
        async with setup.producer(max_in_flight_records=1) as producer:
            tasks = [asyncio.create_task(producer.publish(record)) for record in numbered(5)]
            await tasks[0]
            go_on.set()
            for task in tasks:
                await (await task)

    setup.store.fail = slow
    asyncio.run(publish())
    assert setup.log.ids() == [an_id(n) for n in range(5)]


def test_no_room_in_time_is_told(setup: Setup) -> None:
    """As the synchronous producer does."""
    setup.kafka = HeldProducer(setup.log)

    async def publish() -> None:
        producer = setup.producer(max_in_flight_records=1, timeout_seconds=0)
        await producer.publish(numbered(1)[0])
        with pytest.raises(BacklogFullError):
            await producer.publish(numbered(2)[1])
        with suppress(PublishError):  # it may end before its thread took the first record
            await producer.close()

    asyncio.run(publish())


def test_a_failure_is_told_by_the_future_and_by_flush(setup: Setup) -> None:
    """One that no one awaits is not lost, and the loop does not log it."""
    error = RecordTooLargeError("larger than 1 MiB")
    setup.kafka.fail_send = lambda _: error
    logged: list[Any] = []

    async def publish() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: logged.append(context))
        async with setup.producer() as producer:
            awaited, _ = await producer.publish_many(numbered(2))
            with pytest.raises(RecordTooLargeError):
                await awaited
            with pytest.raises(PublishError, match="2 record"):
                await producer.flush()

    asyncio.run(publish())
    assert logged == []


def test_a_cancelled_record_is_not_sent(setup: Setup) -> None:
    """Until it is on its way a record can be withdrawn, also while it waits for room."""
    storing, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        storing.set()
        assert go_on.wait(LIMIT_SECONDS)

    async def publish() -> None:
        async with setup.producer(max_in_flight_records=2) as producer:
            first = await producer.publish(numbered(1)[0])
            assert await asyncio.to_thread(storing.wait, LIMIT_SECONDS)
            second = await producer.publish(numbered(2)[1])
            second.cancel()
            third = asyncio.create_task(producer.publish(numbered(3)[2]))
            await asyncio.sleep(0)
            third.cancel()
            with pytest.raises(asyncio.CancelledError):
                await third
            go_on.set()
            await first

    setup.store.fail = slow
    asyncio.run(publish())
    assert setup.log.ids() == [an_id(0)]


def test_an_invalid_record_among_many_keeps_all_from_being_published(setup: Setup) -> None:
    """A list is checked whole before its first record goes."""

    async def publish() -> None:
        async with setup.producer() as producer:
            await producer.publish_many([*numbered(2), Record(instances=[])])

    with pytest.raises(InvalidRecordError):
        asyncio.run(publish())
    assert setup.log.ids() == []


def test_rows_of_a_table_are_published_in_order(setup: Setup) -> None:
    """As the synchronous producer's are."""

    async def publish() -> list[Any]:
        async with setup.producer() as producer:
            rows = {"x": np.arange(1500.0), "user": np.arange(1500)}
            futures = await producer.publish_rows(rows, metadata=["user"])
            return await asyncio.gather(*futures)

    assert [place.offset for place in asyncio.run(publish())] == list(range(1500))
    assert setup.log.published[1200].value == b'{"instance":{"x":1200.0}}'


@pytest.mark.parametrize(
    ("record", "large"),
    [
        (Record(instance=1), False),
        (Record(instance=[0.0] * 784), False),
        (Record(instances=[[0.0] * 784] * 100), True),
        (Record(inputs={"x": [[0.0] * 784] * 100, "y": [1]}), True),
        (Record(instance=b"x" * 100_000), True),
        (Record(tensors={"x": np.zeros((100, 784), np.float32)}), True),
        (Record(instance=1, metadata={"text": "x" * 100_000}), True),
        (Record(instances=({1}, {2})), False),
        (Record(instances=iter([1])), False),
    ],
)
def test_large_records_are_told_at_a_glance(record: Record, large: bool) -> None:
    """Those are encoded in another thread."""
    assert is_large(record) is large
