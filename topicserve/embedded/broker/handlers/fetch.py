"""Fetch: records from several partitions, waited for where there are not enough (long polling)."""

import asyncio
from collections.abc import Awaitable
from types import SimpleNamespace as Struct
from typing import Any, NamedTuple

from kafka.protocol.consumer import FetchResponse

from topicserve.embedded.broker.api import ClientInfo, Response
from topicserve.embedded.broker.broker import EmbeddedBroker
from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.log.partition import Partition

# One answer is one copy in memory; readers come back for more.
_MAX_BYTES = 16 << 20


class _Found(NamedTuple):
    """What a fetch has found so far, and whether it must be answered now because of an error."""

    response: Response
    size_bytes: int
    failed: bool


class _Budget(NamedTuple):
    """What may still go into the answer; the first batch of all does, whatever its size."""

    max_bytes: int
    at_least_one: bool


def fetch(
    broker: EmbeddedBroker, request: Any, client: ClientInfo
) -> Response | Awaitable[Response]:
    """Return records; where there are too few, wait for them as long as the client said.

    No fetch sessions (KIP-227) are kept: a client that is given the session 0 asks in full.
    """
    if request.session_id:
        return _response(ErrorCode.FETCH_SESSION_ID_NOT_FOUND, [])
    found = _read(broker, request)
    return found.response if _suffices(found, request) else _wait(broker, request)


async def _wait(broker: EmbeddedBroker, request: Any) -> Response:
    loop = asyncio.get_running_loop()
    deadline = loop.time() + request.max_wait_ms / 1000
    while True:
        # Between this look and the wait nothing can come: both happen in one step of the loop.
        found = _read(broker, request)
        if _suffices(found, request) or loop.time() >= deadline:
            return found.response
        await _change(_partitions(broker, request), deadline)


async def _change(partitions: list[Partition], deadline: float) -> None:
    """Wait until one of the partitions has changed, or until the deadline."""
    loop = asyncio.get_running_loop()
    change: asyncio.Future[None] = loop.create_future()
    timer = loop.call_at(deadline, _complete, change)
    for partition in partitions:
        partition.wait(change)
    try:
        await change
    finally:
        timer.cancel()
        for partition in partitions:
            partition.give_up(change)


def _complete(change: asyncio.Future[None]) -> None:
    if not change.done():
        change.set_result(None)


def _suffices(found: _Found, request: Any) -> bool:
    return found.failed or found.size_bytes >= max(request.min_bytes, 1) or not request.topics


def _partitions(broker: EmbeddedBroker, request: Any) -> list[Partition]:
    return [
        broker.topics.partition(topic.topic, wanted.partition)
        for topic in request.topics
        for wanted in topic.partitions
    ]


def _read(broker: EmbeddedBroker, request: Any) -> _Found:
    committed = request.isolation_level == 1
    left_bytes = max(0, min(request.max_bytes, _MAX_BYTES))
    size_bytes, failed, topics = 0, False, []
    for topic in request.topics:
        answers = []
        for wanted in topic.partitions:
            max_bytes = min(wanted.partition_max_bytes, left_bytes - size_bytes)
            budget = _Budget(max_bytes, at_least_one=not size_bytes)
            answer = _read_partition(broker, topic.topic, wanted, budget, committed=committed)
            size_bytes += len(answer.records)
            failed = failed or answer.error_code != ErrorCode.NONE
            answers.append(answer)
        topics.append(Struct(topic=topic.topic, partitions=answers))
    return _Found(_response(ErrorCode.NONE, topics), size_bytes, failed)


def _read_partition(
    broker: EmbeddedBroker, topic: str, wanted: Any, budget: _Budget, *, committed: bool
) -> Struct:
    offset = wanted.fetch_offset
    try:
        partition = broker.topics.partition(topic, wanted.partition)
    except KafkaError as error:
        return _answer(wanted.partition, error.code, (-1, -1, -1))
    if not partition.log_start_offset <= offset <= partition.end_offset:
        return _answer(wanted.partition, ErrorCode.OFFSET_OUT_OF_RANGE, _offsets(partition))
    batches = partition.read(
        offset,
        committed=committed,
        max_bytes=budget.max_bytes,
        at_least_one=budget.at_least_one,
    )
    aborted = None
    if committed:
        end = batches[-1].last_offset if batches else offset
        aborted = [
            Struct(producer_id=each.producer_id, first_offset=each.first_offset)
            for each in partition.aborted_between(offset, end)
        ]
    records = b"".join(batch.payload for batch in batches)
    return _answer(wanted.partition, ErrorCode.NONE, _offsets(partition), records, aborted)


def _offsets(partition: Partition) -> tuple[int, int, int]:
    return partition.end_offset, partition.last_stable_offset, partition.log_start_offset


def _answer(
    index: int,
    code: ErrorCode,
    offsets: tuple[int, int, int],
    records: bytes = b"",
    aborted: list[Struct] | None = None,
) -> Struct:
    high_watermark, last_stable_offset, log_start_offset = offsets
    return Struct(
        partition_index=index,
        error_code=code,
        high_watermark=high_watermark,
        last_stable_offset=last_stable_offset,
        log_start_offset=log_start_offset,
        aborted_transactions=aborted,
        preferred_read_replica=-1,
        records=records,
    )


def _response(code: ErrorCode, topics: list[Struct]) -> Response:
    return FetchResponse(throttle_time_ms=0, error_code=code, session_id=0, responses=topics)
