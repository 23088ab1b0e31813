"""Publishes dead letters and commits that they were replayed, in one transaction."""

import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

from topicserve.backends.broker import Offsets, Producer
from topicserve.backends.errors import (
    BackendError,
    BackendUnavailableError,
    RecordRefusedError,
)
from topicserve.wire.kafka_record import OutgoingRecord

TRANSACTION_TIMEOUT_MS = 60_000
# Before the broker aborts the transaction by itself and fences this producer.
GIVE_UP_SECONDS = 45.0
ABORT_SECONDS = 10.0
_PAUSE_SECONDS = 0.5

Errors = list[RecordRefusedError | None]


class TransactionalPublisher:
    """Publishes lists of records, all of a list or none but those that are refused alone.

    A process that is killed leaves either both the records and their offsets, or neither: readers
    of committed records see each once. A second publisher with the same transactional id fences
    this one. One thread uses it. A transaction may take 45 seconds, and 10 more where it is
    aborted.
    """

    def __init__(
        self, producer: Producer, group_metadata: Callable[[], Any], *, clock: Any = time.monotonic
    ) -> None:
        self._producer = producer
        self._group_metadata = group_metadata
        self._clock = clock
        self._is_ready = False

    def publish(
        self, records: Sequence[OutgoingRecord], offsets_of: Callable[[Errors], Offsets]
    ) -> Errors:
        """Return for each record None, or why it can never be written; the others are committed.

        `offsets_of` returns what to commit with them. Raises BackendError where nothing was
        committed, or where no one answered whether it was.
        """
        if not self._is_ready:
            self._producer.init_transactions(GIVE_UP_SECONDS)
            self._is_ready = True
        errors: Errors = [None] * len(records)
        while not all(errors):
            left = [index for index, error in enumerate(errors) if error is None]
            refused = self._try([records[index] for index in left], lambda: offsets_of(errors))
            if not any(refused):
                break
            for index, error in zip(left, refused, strict=True):
                errors[index] = error
        return errors

    def _try(self, records: Sequence[OutgoingRecord], offsets: Callable[[], Offsets]) -> Errors:
        give_up_at = self._clock() + GIVE_UP_SECONDS
        self._producer.begin_transaction()
        try:
            refused = self._send(records, give_up_at)
            if any(refused):
                self._producer.abort_transaction(ABORT_SECONDS)
                return refused
            self._repeat(
                lambda seconds: self._producer.send_offsets_to_transaction(
                    offsets(), self._group_metadata(), seconds
                ),
                give_up_at,
            )
        except BaseException:
            with suppress(BackendError):
                self._producer.abort_transaction(ABORT_SECONDS)
            raise
        # Not aborted from here on: it may be committed although no answer has come.
        self._repeat(self._producer.commit_transaction, give_up_at)
        return refused

    def _send(self, records: Sequence[OutgoingRecord], give_up_at: float) -> Errors:
        settled = threading.Event()
        errors: list[BackendError | None] = []

        def on_delivery(found: Sequence[BackendError | None]) -> None:
            errors.extend(found)
            settled.set()

        self._producer.send(records, on_delivery, max(give_up_at - self._clock(), 0))
        if not settled.wait(max(give_up_at - self._clock(), 0)):
            raise BackendUnavailableError(
                f"the broker acknowledged no record within {GIVE_UP_SECONDS:g} s"
            )
        refused = [error if isinstance(error, RecordRefusedError) else None for error in errors]
        # A refused record fails its whole transaction, and the others with it.
        if any(errors) and not any(refused):
            raise next(filter(None, errors))
        return refused

    def _repeat(self, call: Callable[[float], None], give_up_at: float) -> None:
        """Ask again while no one answers: asking twice commits once."""
        while True:
            try:
                call(max(give_up_at - self._clock(), 0))
            except BackendUnavailableError:
                if self._clock() + _PAUSE_SECONDS >= give_up_at:
                    raise
                time.sleep(_PAUSE_SECONDS)
            else:
                return
