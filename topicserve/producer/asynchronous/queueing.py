"""How records get from an event loop to the publishing thread without blocking the loop."""

import asyncio
from collections.abc import Callable, Mapping, Sized
from itertools import islice
from typing import Any

from topicserve.backends.errors import BacklogFullError
from topicserve.producer.encoder import EncodedRecord
from topicserve.producer.in_progress.backlog import Entry
from topicserve.producer.publisher import Publisher
from topicserve.producer.record import Record

# What takes longer to encode than to hand to another thread, a tenth of a millisecond or so.
_LARGE_BYTES = 64 * 1024
_LOOKED_AT = 64
_NUMBER_BYTES = 8


async def encoded_aside(encode: Callable[[Record], EncodedRecord], record: Record) -> EncodedRecord:
    """Return a record encoded: in another thread if it is large."""
    return await asyncio.to_thread(encode, record) if is_large(record) else encode(record)


def is_large(record: Record) -> bool:
    """Tell, by a glance at it, whether a record takes long to encode."""
    parts = (record.instance, record.instances, record.inputs, record.tensors, record.metadata)
    return any(_bytes_of(part) >= _LARGE_BYTES for part in parts if part is not None)


def _bytes_of(content: Any, depth: int = 4) -> int:
    """Estimate the size of content by its first part, as all parts are mostly alike."""
    size = getattr(content, "nbytes", None)
    if isinstance(size, int):
        return size
    if isinstance(content, (str, bytes, bytearray)):
        return len(content)
    if not isinstance(content, Sized) or not len(content) or not depth:
        return _NUMBER_BYTES
    if isinstance(content, Mapping):
        seen = [_bytes_of(part, depth - 1) for part in islice(content.values(), _LOOKED_AT)]
        return len(content) * max(seen)
    try:
        first = content[0]  # type: ignore[index]
    except (TypeError, LookupError):  # a set, a data frame
        return len(content) * _NUMBER_BYTES
    return len(content) * _bytes_of(first, depth - 1)


async def put_aside(
    publisher: Publisher, entry: Entry, turn: asyncio.Lock, wait_seconds: float
) -> None:
    """Put an entry, waiting for room in another thread; entries keep their order.

    One that is given up while it waits is cancelled, and so not sent when there is room.
    """
    try:
        async with turn:
            try:
                publisher.put(entry, 0)
            except BacklogFullError:
                await asyncio.to_thread(publisher.put, entry, wait_seconds)
    except asyncio.CancelledError:
        entry.future.cancel()
        raise
