"""Idempotent producers of one partition: which batch is a repetition, which is out of order."""

from collections import deque
from dataclasses import dataclass, field
from typing import NamedTuple

from topicserve.embedded.broker.error_codes import ErrorCode, KafkaError
from topicserve.embedded.broker.log.record_batch import RecordBatch, next_sequence

# As many as a client may have in flight to one partition with idempotence on.
_REMEMBERED_BATCHES = 5


class _Appended(NamedTuple):
    base_sequence: int
    last_sequence: int
    base_offset: int


@dataclass(slots=True)
class _ProducerState:
    epoch: int
    last_offset: int
    batches: deque[_Appended] = field(default_factory=lambda: deque(maxlen=_REMEMBERED_BATCHES))


class ProducerStates:
    """What one partition knows of its idempotent producers (KIP-98): the epoch and last batches."""

    def __init__(self) -> None:
        self._states: dict[int, _ProducerState] = {}

    def check(self, batch: RecordBatch) -> int | None:
        """Return the offset that a repeated batch already has, None for a new one.

        Raises KafkaError: INVALID_PRODUCER_EPOCH for a fenced producer and
        OUT_OF_ORDER_SEQUENCE_NUMBER where batches are missing.
        """
        state = self._states.get(batch.producer_id)
        if state is None:
            return None  # as in Kafka: what was known may have gone with the records
        if batch.producer_epoch < state.epoch:
            raise KafkaError(ErrorCode.INVALID_PRODUCER_EPOCH)
        expected = 0
        if batch.producer_epoch == state.epoch and state.batches:
            for appended in state.batches:
                if appended[:2] == (batch.base_sequence, batch.last_sequence):
                    return appended.base_offset
            expected = next_sequence(state.batches[-1].last_sequence)
        if batch.base_sequence != expected:
            raise KafkaError(
                ErrorCode.OUT_OF_ORDER_SEQUENCE_NUMBER,
                f"expected sequence {expected}, found {batch.base_sequence}",
            )
        return None

    def add(self, batch: RecordBatch) -> None:
        """Take note of an appended batch; a marker's epoch fences those before it."""
        state = self._states.get(batch.producer_id)
        if state is None or batch.producer_epoch > state.epoch:
            state = _ProducerState(batch.producer_epoch, batch.last_offset)
            self._states[batch.producer_id] = state
        state.last_offset = batch.last_offset
        if not batch.is_control:
            state.batches.append(
                _Appended(batch.base_sequence, batch.last_sequence, batch.base_offset)
            )

    def forget_before(self, log_start_offset: int) -> None:
        """Forget producers whose last record has gone: what is known is bounded by retention."""
        gone = [
            producer_id
            for producer_id, state in self._states.items()
            if state.last_offset < log_start_offset
        ]
        for producer_id in gone:
            del self._states[producer_id]
