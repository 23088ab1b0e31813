import asyncio
import threading
from typing import Any

import pytest

from tests.support.kafka.kafka_doubles import MemoryLog
from tests.support.stages.fakes import ReadConsumer
from topicserve.backends.errors import BackendConfigError
from topicserve.producer.asynchronous import readers
from topicserve.producer.asynchronous.readers import AsyncTopicReader
from topicserve.producer.topic_reader import TopicReader
from topicserve.wire.errors import InvalidRecordError
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition

P0 = TopicPartition("results", 0)


def decode(record: KafkaRecord) -> str | None:
    """Return the letter; a dot is not wanted, a question mark not readable."""
    assert record.value is not None
    if record.value == b"?":
        raise InvalidRecordError("value", "is a question")
    return None if record.value == b"." else record.value.decode()


def a_reader(values: str) -> tuple[AsyncTopicReader[str], ReadConsumer]:
    """Return a reader of one partition, and its consumer."""
    polled = [
        KafkaRecord(*P0, offset, 0, None, letter.encode(), [])
        for offset, letter in enumerate(values)
    ]
    consumer = ReadConsumer(MemoryLog(polled), P0)
    return AsyncTopicReader(TopicReader(consumer, "results", decode)), consumer


async def all_of(reader: AsyncTopicReader[str], **how: Any) -> list[str]:
    """Read as a caller does."""
    return [letter async for letter in reader.read(**how)]


def test_yields_what_is_wanted_in_order_and_commits_what_was_yielded() -> None:
    """What was polled beyond the limit is kept, and read again by the group's next reader."""
    reader, consumer = a_reader("ab.cd")

    async def read() -> tuple[list[str], list[str]]:
        async with reader:
            first = await all_of(reader, limit=3)
            await reader.commit()
            return first, await all_of(reader, limit=1)

    assert asyncio.run(read()) == (["a", "b", "c"], ["d"])
    assert consumer.log.committed == {P0: 4}
    assert consumer.closed


def test_ends_at_the_end_of_the_topic() -> None:
    """Once the lag of every partition is known to be nought."""
    reader, consumer = a_reader("abc")
    consumer.lag_records = {P0: 0}

    assert asyncio.run(all_of(reader, until_end=True)) == ["a", "b", "c"]


def test_a_record_that_cannot_be_read_raises_and_may_be_passed_over() -> None:
    """The next call goes on behind it."""
    reader, _ = a_reader("a?b")

    async def read() -> list[str]:
        with pytest.raises(InvalidRecordError):
            await all_of(reader, limit=2)
        return await all_of(reader, limit=1)

    assert asyncio.run(read()) == ["b"]


def test_one_thread_has_the_consumer_and_the_loop_is_not_it() -> None:
    """Polls, commits and the close come from the same thread, which is not the caller's."""
    reader, consumer = a_reader("a")
    threads = set()
    consumer.before_poll = lambda: threads.add(threading.current_thread().name)

    async def read() -> None:
        async with reader:
            await all_of(reader, limit=1)

    asyncio.run(read())
    assert len(threads) == 1
    assert threads != {threading.current_thread().name}


def test_a_task_that_is_cancelled_loses_no_record() -> None:
    """A poll that has begun ends by itself; what it brings is yielded by the next call."""
    reader, consumer = a_reader("ab")
    polling, go_on = threading.Event(), threading.Event()

    def hold() -> None:
        polling.set()
        assert go_on.wait(10)

    consumer.before_poll = hold

    async def read() -> list[str]:
        task = asyncio.create_task(all_of(reader, limit=2))
        assert await asyncio.to_thread(polling.wait, 10)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        return await all_of(reader, limit=2)

    assert asyncio.run(read()) == ["a", "b"]


def test_a_task_that_is_cancelled_while_a_record_is_decoded_keeps_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Large records, and bodies that lie elsewhere, take their time; it is not committed."""
    monkeypatch.setattr(readers, "_LARGE_BYTES", 0)
    decoding, go_on = threading.Event(), threading.Event()

    def slowly(record: KafkaRecord) -> str | None:
        decoding.set()
        assert go_on.wait(60)
        return decode(record)

    polled = [
        KafkaRecord(*P0, offset, 0, None, b"ab"[offset : offset + 1], []) for offset in (0, 1)
    ]
    consumer = ReadConsumer(MemoryLog(polled), P0)
    consumer.lag_records = {P0: 0}
    reader = AsyncTopicReader(TopicReader(consumer, "results", slowly))

    async def read() -> list[str]:
        task = asyncio.create_task(all_of(reader, limit=2))
        assert await asyncio.to_thread(decoding.wait, 60)
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        go_on.set()
        await reader.commit()
        return await all_of(reader, until_end=True)

    assert asyncio.run(read()) == ["a", "b"]
    assert consumer.log.committed in ({}, {P0: 0})


def test_other_tasks_have_their_turn_among_many_polled_records() -> None:
    """A long list of results does not hold the loop."""
    reader, _ = a_reader("x" * 1000)
    turns = 0

    async def tick() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    async def read() -> None:
        ticking = asyncio.create_task(tick())
        await all_of(reader, limit=1000)
        ticking.cancel()

    asyncio.run(read())
    assert turns >= 1000 // readers._TOGETHER - 1


def test_large_results_are_decoded_aside(monkeypatch: pytest.MonkeyPatch) -> None:
    """In the reader's thread."""
    monkeypatch.setattr(readers, "_LARGE_BYTES", 1)
    threads = set()

    def noted(record: KafkaRecord) -> str | None:
        threads.add(threading.current_thread())
        return decode(record)

    reader, _ = a_reader("ab")
    reader._reader._decode = noted

    assert asyncio.run(all_of(reader, limit=2)) == ["a", "b"]
    assert threading.current_thread() not in threads


def test_wrong_arguments_are_named() -> None:
    """As the synchronous reader does."""
    reader, _ = a_reader("a")

    with pytest.raises(BackendConfigError, match="limit"):
        asyncio.run(all_of(reader, limit=-1))
