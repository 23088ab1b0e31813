"""A producer that notes the outcome of every record of a replay, and commits the account."""

import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Any

from topicserve.backends.broker import OffsetAndMetadata, Offsets, OnDelivery, Places, Producer
from topicserve.backends.errors import BackendError
from topicserve.wire import header_names as names
from topicserve.wire.dead_letter import REASON_HEADER
from topicserve.wire.kafka_record import OutgoingRecord, TopicPartition
from topicserve.worker.replay.ledger import Ledger
from topicserve.worker.replay.progress_note import RESULT

Outcome = tuple[TopicPartition, int, str]


class LedgerProducer:
    """The broker port's Producer: see there for who calls what.

    Without transactions an outcome counts when it is acknowledged, which is before its offset can
    be committed. In a transaction it counts when it is sent: the offsets and the account are part
    of that transaction, and what is sent again after an abort takes the place of what was noted.
    """

    def __init__(self, producer: Producer, ledger: Ledger, *, is_transactional: bool) -> None:
        self._producer = producer
        self._ledger = ledger
        self._is_transactional = is_transactional
        self._offsets: dict[TopicPartition, OffsetAndMetadata] = {}

    def send(
        self,
        records: Sequence[OutgoingRecord],
        on_delivery: OnDelivery,
        timeout_seconds: float | None = None,
        places: Places | None = None,
    ) -> None:
        if self._is_transactional:
            self._ledger.settle(_outcomes(records))
            self._producer.send(records, on_delivery, timeout_seconds, places)
            return

        def noted(errors: Sequence[BackendError | None]) -> None:
            acknowledged = [r for r, error in zip(records, errors, strict=True) if error is None]
            self._ledger.settle(_outcomes(acknowledged))
            on_delivery(errors)

        self._producer.send(records, noted, timeout_seconds, places)

    def flush(self, timeout_seconds: float) -> bool:
        return self._producer.flush(timeout_seconds)

    def init_transactions(self, timeout_seconds: float) -> None:
        self._producer.init_transactions(timeout_seconds)

    def begin_transaction(self) -> None:
        self._producer.begin_transaction()

    def send_offsets_to_transaction(
        self, offsets: Offsets, group_metadata: Any, timeout_seconds: float
    ) -> None:
        self._offsets = self._ledger.noted(offsets)
        self._producer.send_offsets_to_transaction(self._offsets, group_metadata, timeout_seconds)

    def commit_transaction(self, timeout_seconds: float) -> None:
        self._producer.commit_transaction(timeout_seconds)
        self._ledger.committed(self._offsets)

    def abort_transaction(self, timeout_seconds: float) -> None:
        self._producer.abort_transaction(timeout_seconds)

    def close(self, timeout_seconds: float) -> None:
        self._producer.close(timeout_seconds)


def place_of(record: OutgoingRecord) -> tuple[TopicPartition, int] | None:
    """Return which record of the input this is the outcome of; None where it does not say so."""
    headers = dict(record.headers)
    with suppress(KeyError, ValueError, AttributeError, struct.error):
        if REASON_HEADER in headers:
            return _place_of_dead_letter(headers)
        topic, partition, offset = (headers[names.REPLAY_INPUT] or b"").decode().rsplit(":", 2)
        return TopicPartition(topic, int(partition)), int(offset)
    return None


def _place_of_dead_letter(headers: dict[str, bytes | None]) -> tuple[TopicPartition, int]:
    def value(name: str) -> bytes:
        return headers[f"kafka_dlt-original-{name}"] or b""

    (partition,) = struct.unpack(">i", value("partition"))
    (offset,) = struct.unpack(">q", value("offset"))
    return TopicPartition(value("topic").decode(), partition), offset


def _outcomes(records: Iterable[OutgoingRecord]) -> Iterable[Outcome]:
    for record in records:
        place = place_of(record)
        if place is not None:
            reason = dict(record.headers).get(REASON_HEADER)
            yield *place, RESULT if reason is None else reason.decode()
