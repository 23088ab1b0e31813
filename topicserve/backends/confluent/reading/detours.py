"""Gets a consumer past batches that librdkafka does not survive, or does not get past.

It uses kafka-python, in a connection of its own, and only where there is such a batch; see ADR
0002.
"""

import ctypes
import logging
from collections.abc import Callable
from typing import Any

import confluent_kafka

from topicserve.backends.confluent.errors import translated
from topicserve.backends.confluent.reading.careful import CarefulReader
from topicserve.backends.confluent.reading.partitions import AssignedPartitions, theirs_of
from topicserve.backends.confluent.reading.seeks import Seeks
from topicserve.backends.confluent.reading.stalls import ReadPosition, StallWatch
from topicserve.backends.errors import BackendError, BackendUnavailableError
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition

log = logging.getLogger(__name__)

_COMMITTED_SECONDS = 5.0
_ANSWER_SECONDS = 5.0


class Detours:
    """Has CarefulReader read partitions while librdkafka may not; for the thread that polls.

    A partition on a detour is paused for librdkafka, and is handed back where the detour ends.
    """

    def __init__(
        self,
        client: Any,
        partitions: AssignedPartitions,
        seeks: Seeks,
        careful: CarefulReader,
        stalls: StallWatch,
        *,
        is_cooperative: bool,
    ) -> None:
        """`is_cooperative` says how the group gives partitions."""
        self._client = client
        self._partitions = partitions
        self._seeks = seeks
        self._careful = careful
        self.stalls = stalls
        self._is_cooperative = is_cooperative
        self.hangs = False
        """Whether the client does not answer any more: it cannot be closed either."""

    def __bool__(self) -> bool:
        """Return whether any partition is on a detour."""
        return bool(self._careful)

    def __contains__(self, partition: TopicPartition) -> bool:
        """Return whether a partition is on a detour."""
        return partition in self._careful

    def seek(self, partition: TopicPartition, offset: int) -> None:
        """Read a partition that is on a detour on from another offset."""
        self._careful.seek(partition, offset)

    def forget(self, partition: TopicPartition) -> None:
        """End a partition's detour: it is gone."""
        self._careful.forget(partition)

    def close(self) -> None:
        """Close the connections."""
        self._careful.close()

    def screen(
        self,
        partitions: list[TopicPartition],
        committed: Callable[[list[TopicPartition], float], dict[TopicPartition, int | None]],
    ) -> None:
        """Look at what librdkafka would fetch first of new partitions, before it does.

        `committed` is the consumer's own.
        """
        try:
            offsets = committed(partitions, _COMMITTED_SECONDS)
        except BackendUnavailableError as error:
            log.warning("batches are not checked before they are fetched: %s", error)
            return
        known = {p: int(offset) for p, offset in offsets.items() if offset is not None}
        self._partitions.starts.update(known)
        detours = self._careful.screen(partitions, offsets)
        if not detours:
            return  # the library assigns what it was given
        for partition, detour in detours.items():
            self._careful.take(partition, detour)
        theirs = [
            confluent_kafka.TopicPartition(*partition, detours[partition].until)
            if partition in detours
            else confluent_kafka.TopicPartition(*partition)
            for partition in partitions
        ]
        with translated():
            if self._is_cooperative:
                self._client.incremental_assign(theirs)
            else:
                self._client.assign(theirs)
            self._client.pause(theirs_of(detours))

    def read(self, max_records: int) -> list[KafkaRecord]:
        """Return records of partitions on a detour; hand back those whose detour has ended."""
        records, done = self._careful.read(max_records, self._partitions.paused)
        for partition, offset in done.items():
            self._careful.forget(partition)
            log.warning("%s-%s: read with librdkafka again", *partition)
            if partition in self._partitions.paused:
                self._partitions.sought[partition] = offset
                continue
            with translated():
                self._client.resume(theirs_of([partition]))
            self._seeks.seek(partition, offset)
        return records

    def look_for_stalls(self) -> None:
        """Get past what keeps a partition from moving, if it is time to look."""
        if not self.stalls.is_due():
            return
        known = self._partitions
        watched = {p for p in known.assigned - known.paused - known.unread if p not in self}
        places = {}
        for partition, position in known.positions(watched).items():
            offsets = (known.ends.get(partition), position, known.starts.get(partition))
            at = max((one for one in offsets if one is not None), default=0)
            places[partition] = ReadPosition(at, known.log_end(partition) or 0)
        for partition, place in self.stalls.stalled(places).items():
            self._get_past(partition, place.position)

    def _get_past(self, partition: TopicPartition, position: int) -> None:
        """Read on behind what librdkafka does not get past, or raise an error if it is lost."""
        try:
            detour = self._careful.look_at(partition, position)
        except BackendError:
            return  # it is the broker that does not answer
        if detour is None:
            self.stalls.excuse(partition, position)  # a transaction is open, or it is slow
            return
        try:
            with translated():
                self._client.get_watermark_offsets(
                    confluent_kafka.TopicPartition(*partition), _ANSWER_SECONDS, cached=False
                )
        except BackendUnavailableError:
            # Freed at the interpreter's end it would wait for its threads, and the process for it.
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(self._client))
            self.hangs = True
            raise BackendError(
                f"librdkafka hangs in a batch at offset {position} or behind it, of "
                f"{partition.topic}-{partition.partition}: it does not answer, and cannot be closed"
            ) from None
        self._careful.take(partition, detour)
        with translated():
            self._client.pause(theirs_of([partition]))
