"""Partitions that are read with kafka-python for a while, past batches that librdkafka may not see.

librdkafka decompresses what it fetches at once, on threads of its own, and does not survive all of
it (`kafka_python.reading.screening` says how). So the first batches of a partition are looked at
when it is assigned, before librdkafka fetches them: a replica that starts again after such a death
finds the batch that its predecessor died of. Where the group's offset has a text beside it, the one
before did not give the partition up in order, and more is looked at: all that it may have had in
flight. Where a batch is unsound, the partition is read here up to behind it. Nothing else is done
for partitions whose batches are sound.
"""

import logging
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, NamedTuple

import kafka

from topicserve.backends.broker import Offsets, metadata_of
from topicserve.backends.errors import AuthenticationError, BackendConfigError, BackendError
from topicserve.backends.kafka_python.connection import ClientNetwork
from topicserve.backends.kafka_python.errors import translated
from topicserve.backends.kafka_python.reading.consumer import records_of
from topicserve.backends.kafka_python.reading.screening import screen
from topicserve.backends.kafka_python.settings import to_kafka_python
from topicserve.backends.kafka_python.workarounds.unreadable import read_on
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition

log = logging.getLogger(__name__)

# What librdkafka fetches of a partition before the first record of it is polled, about.
FIRST_BYTES = 512 * 1024
# All that is looked at for one assignment: half a second to a second, where there is so much. It is
# divided among the partitions whose member before did not leave in order; the worker reads those in
# small chunks, so that what it has in flight of them is little, and each death is further on.
TOTAL_BYTES = 32 * 1024 * 1024
# What was not looked at by then is taken for sound: a killed member's partitions must go on soon.
_SCREEN_SECONDS = 5.0
_OPEN_SECONDS = 5.0
_POLL_SECONDS = 0.05
_CLOSE_SECONDS = 1.0


class Detour(NamedTuple):
    """The offsets of a partition that are read here."""

    start: int
    until: int


def known_settings(settings: Mapping[str, object]) -> dict[str, Any]:
    """Return kafka-python's arguments for what it has of a confluent consumer's settings."""
    arguments: dict[str, Any] = {}
    for name, value in settings.items():
        if name.startswith("group."):
            continue  # no member of the group reads so
        with suppress(BackendConfigError):
            arguments |= to_kafka_python({name: value}, "consumer")
    return arguments | {"enable_auto_commit": False}


class CarefulReader:
    """Screens partitions, and reads those that need it; for the thread that polls."""

    def __init__(self, arguments: dict[str, Any], max_decompressed_bytes: int) -> None:
        """`arguments` are those of a KafkaConsumer without a group."""
        self._arguments = arguments
        self._max_decompressed_bytes = max_decompressed_bytes
        self._client: Any = None
        self._is_refused = False
        self._until: dict[TopicPartition, int] = {}
        # Where to read on from, of what has no client yet or was sought.
        self._positions: dict[TopicPartition, int] = {}

    def __contains__(self, partition: TopicPartition) -> bool:
        return partition in self._until

    def __bool__(self) -> bool:
        return bool(self._until)

    def screen(
        self, partitions: Iterable[TopicPartition], committed: Mapping[TopicPartition, int | None]
    ) -> dict[TopicPartition, Detour]:
        """Return which of these partitions must be read here, and up to where."""
        starts: dict[TopicPartition, int | None] = {}
        max_bytes: dict[TopicPartition, int] = {}
        for partition in partitions:
            offset = committed.get(partition)
            if offset is None and self._arguments.get("auto_offset_reset") != "earliest":
                continue  # nothing that is there already is read
            starts[partition] = offset
        share = TOTAL_BYTES // max(len(starts), 1)
        for partition, offset in starts.items():
            was_left = offset is None or not metadata_of(offset)
            max_bytes[partition] = min(FIRST_BYTES, share) if was_left else share
        if not starts or self._is_refused:
            return {}
        try:
            return self._screened(starts, max_bytes, is_thorough=False)
        except BackendError as error:
            # A way to log in that librdkafka alone has is not tried again at each assignment.
            self._is_refused = isinstance(error, AuthenticationError | BackendConfigError)
            log.warning("batches are not checked before they are fetched: %s", error)
            return {}

    def look_at(self, partition: TopicPartition, position: int) -> Detour | None:
        """Return how to get past the batch at a position, if it is unsound in any way.

        Raises BackendError where no broker answers.
        """
        max_bytes = {partition: FIRST_BYTES}
        return self._screened({partition: position}, max_bytes, is_thorough=True).get(partition)

    def _screened(
        self,
        starts: Mapping[TopicPartition, int | None],
        max_bytes: Mapping[TopicPartition, int],
        *,
        is_thorough: bool,
    ) -> dict[TopicPartition, Detour]:
        found = screen(
            *(self._arguments, starts, max_bytes, self._max_decompressed_bytes, _SCREEN_SECONDS),
            is_thorough=is_thorough,
        )
        return {partition: Detour(*offsets) for partition, offsets in found.items()}

    def take(self, partition: TopicPartition, detour: Detour) -> None:
        """Read a partition here, from now on."""
        log.warning(
            "%s-%s: offsets %s to %s are read with kafka-python: a batch among them is unsound",
            *(partition.topic, partition.partition, detour.start, detour.until - 1),
        )
        self._until[partition] = detour.until
        self._positions[partition] = detour.start
        self._assign()

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read on from another offset."""
        self._positions[partition] = offset
        self._assign()

    def forget(self, partition: TopicPartition) -> None:
        """Read a partition here no more."""
        if self._until.pop(partition, None) is not None:
            self._positions.pop(partition, None)
            self._assign()

    def read(
        self, max_records: int, paused: Iterable[TopicPartition]
    ) -> tuple[list[KafkaRecord], Offsets]:
        """Return records of partitions that are not paused, and where those stand that are done."""
        client = self._opened()
        if client is None:
            return [], {}
        resting = {_theirs(partition) for partition in paused if partition in self._until}
        client.pause(*resting)
        client.resume(*({_theirs(partition) for partition in self._until} - resting))
        try:
            with translated():
                polled = client.poll(timeout_ms=_POLL_SECONDS * 1000, max_records=max_records)
        except BackendError as error:
            log.warning("careful reading: %s", error)
            return [], {}
        done = {}
        for partition, until in self._until.items():
            found = client._subscription.assignment[_theirs(partition)].position  # noqa: SLF001 - no request
            if found is None:
                continue  # it was deleted meanwhile, and is looked for
            position = self._positions[partition] = int(found.offset)
            if position >= until:
                done[partition] = position
        return records_of(polled), done

    def close(self) -> None:
        """Close the connections."""
        client, self._client = self._client, None
        if client is not None:
            client.close(autocommit=False, timeout_ms=_CLOSE_SECONDS * 1000)

    def _opened(self) -> Any:
        if self._client is None:
            try:
                with translated():
                    self._client = ClientNetwork().open(
                        kafka.KafkaConsumer, self._arguments, _OPEN_SECONDS
                    )
            except BackendError as error:
                log.warning("careful reading: %s", error)
                return None
            read_on(self._client, self._max_decompressed_bytes)
            self._assign()
        return self._client

    def _assign(self) -> None:
        if not self._until:
            self.close()
        elif self._client is not None:
            self._client.assign([*map(_theirs, self._until)])
            for partition, offset in self._positions.items():
                self._client.seek(_theirs(partition), offset)


def _theirs(partition: TopicPartition) -> Any:
    return kafka.TopicPartition(*partition)
