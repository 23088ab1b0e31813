"""Passes over batches that librdkafka cannot decode.

librdkafka reports such a batch by an error at its first offset, and fetches it again twice a
second, for good. What it does not tell is where the batch ends. So after a few fetches, as it may
have been altered on its way, the end is searched for by seeks: a broker answers any offset within
the batch with the whole batch, and so the same error, and any later one with what follows.
"""

from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError

from topicserve.wire.kafka_record import KafkaRecord, TopicPartition, UnreadableHeaders

MAX_FETCHES = 3
# ruff: noqa: SLF001 - the underscore is librdkafka's mark for its own codes, all of them public
CODES = frozenset({KafkaError._BAD_MSG, KafkaError._BAD_COMPRESSION, KafkaError._NOT_IMPLEMENTED})


class CorruptBatches:
    """The searches of one consumer; for the thread that polls."""

    def __init__(
        self,
        seek: Callable[[TopicPartition, int], None],
        end_of: Callable[[TopicPartition], int | None],
    ) -> None:
        """`end_of` returns the last known high watermark of a partition."""
        self._seek = seek
        self._end_of = end_of
        self._searches: dict[TopicPartition, _Search] = {}
        self._found: list[KafkaRecord] = []

    def failed(self, message: Any) -> bool:
        """Take note of an error message; False if it is about something else."""
        error = message.error()
        if error.code() not in CODES or message.offset() is None or message.offset() < 0:
            return False
        partition = TopicPartition(message.topic(), message.partition())
        search = self._searches.get(partition)
        if search is None or search.base != message.offset():
            search = self._searches[partition] = _Search(message.offset(), error.str())
        search.fetches += 1
        if search.fetches >= MAX_FETCHES:
            self._go_on(partition, search)
        return True

    def filter(self, messages: list[Any]) -> list[Any]:
        """Return the messages that no search is waiting for; those of searches are used up."""
        if not self._searches:
            return messages
        moved: set[TopicPartition] = set()
        return [message for message in messages if not self._takes(message, moved)]

    def take_found(self) -> list[KafkaRecord]:
        """Return one unreadable record, at its last offset, for each batch passed over."""
        found, self._found = self._found, []
        return found

    def forget(self, partition: TopicPartition) -> None:
        """End a partition's search: it goes on from elsewhere, or with another member."""
        self._searches.pop(partition, None)

    def _takes(self, message: Any, moved: set[TopicPartition]) -> bool:
        partition = TopicPartition(message.topic(), message.partition())
        if partition in moved:
            return True  # of before the seek
        search = self._searches.get(partition)
        if search is None or search.probe is None:
            return False
        error = message.error()
        if error is not None and error.code() not in CODES | {KafkaError._PARTITION_EOF}:
            return False
        moved.add(partition)
        if error is not None and error.code() in CODES and message.offset() == search.base:
            search.low = search.probe + 1
        else:
            search.high = search.probe
        self._go_on(partition, search)
        return True

    def _go_on(self, partition: TopicPartition, search: "_Search") -> None:
        log_end = self._end_of(partition)
        if log_end is None:
            return
        if search.high is None and search.low + search.step >= log_end:
            search.high = log_end  # nothing of this batch is behind the end
        if search.high is None:
            search.probe = search.low + search.step
            search.step = max(search.step * 2, 1)
        elif search.low < search.high:
            search.probe = (search.low + search.high) // 2
        else:
            self._finish(partition, search, search.high)
            return
        self._seek(partition, search.probe)

    def _finish(self, partition: TopicPartition, search: "_Search", end: int) -> None:
        del self._searches[partition]
        self._seek(partition, end)
        problem = (
            f"offsets {search.base} to {end - 1} of {partition.topic}-{partition.partition} "
            f"cannot be read: {search.problem}"
        )
        headers = UnreadableHeaders(problem, first_offset=search.base)
        self._found.append(KafkaRecord(*partition, end - 1, 0, None, None, headers))


class _Search:
    """Where a batch ends: after `base`, at least at `low`, at most at `high`."""

    def __init__(self, base: int, problem: str) -> None:
        self.base = base
        self.problem = problem
        self.fetches = 0
        self.low = base + 1
        self.high: int | None = None
        self.step = 0
        self.probe: int | None = None
