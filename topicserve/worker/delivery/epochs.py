"""Exactly once: what was polled between two cuts, and where it stands."""

import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.runtime.retry import ShutdownRequestedError
from topicserve.worker.stages.publish import OutgoingBatch
from topicserve.worker.telemetry.logging import log_event


@dataclass(slots=True, eq=False)
class Epoch:
    """Records polled between two cuts, and the transaction that their outcomes go into."""

    records: int = 0
    unfinished: int = 0
    outcomes: list[OutgoingBatch] = field(default_factory=list)
    end: Mapping[PartitionAssignment, int] | None = None
    """The positions at its end, once nothing more is gathered."""
    group_metadata: Any = None
    give_up_at: float = 0.0
    open: bool = False
    aborted: bool = False
    in_doubt: bool = False
    """Whether it may be committed already, although no one said so."""

    @property
    def complete(self) -> bool:
        """Return whether nothing more is gathered and every record has its outcome."""
        return self.end is not None and self.unfinished == 0


class Epochs:
    """The epochs that are not committed yet: one gathers, at most one before it is published.

    Any thread may call it, but one thread alone polls, cuts and begins again.
    """

    def __init__(self) -> None:
        self.open_epoch = 0
        """The number of the epoch that records polled now belong to."""
        self.committing_epoch = 0
        """The number of the epoch that is committed next."""
        self.abort_reason: str | None = None
        """Why nothing can be committed before all is begun again."""
        # Guards all of it, and the epochs' counts; told of every change.
        self._changed = threading.Condition()
        self._epochs = {0: Epoch()}
        self.closed = False
        """Whether nothing more is added or committed."""

    def admit(self, records: int) -> int:
        """Count records into the open epoch, and return its number."""
        with self._changed:
            epoch = self._epochs[self.open_epoch]
            epoch.records += records
            epoch.unfinished += records
            return self.open_epoch

    def open_records(self) -> int:
        """Return how many records the open epoch has."""
        with self._changed:
            return self._epochs[self.open_epoch].records

    def add(self, number: int, outgoing: OutgoingBatch) -> bool:
        """Add the outcomes of a batch; False if all was begun again since it was polled.

        Raises ShutdownRequestedError once closed.
        """
        with self._changed:
            if self.closed:
                raise ShutdownRequestedError
            epoch = self._epochs.get(number)
            if epoch is None:
                return False
            epoch.outcomes.append(outgoing)
            epoch.unfinished -= len(outgoing.polled)
            self._changed.notify_all()
            return True

    def may_seal(self, *, empty: bool = False) -> bool:
        """Return whether the open epoch holds anything (or nothing: `empty`).

        Not while another one is being committed.
        """
        with self._changed:
            holds_any = self._epochs[self.open_epoch].records > 0
            return self.open_epoch == self.committing_epoch and holds_any is not empty

    def seal(self, positions: Mapping[PartitionAssignment, int], group_metadata: Any) -> None:
        """Seal the open epoch at these positions, and begin the next."""
        with self._changed:
            epoch = self._epochs[self.open_epoch]
            epoch.end, epoch.group_metadata = positions, group_metadata
            self.open_epoch += 1
            self._epochs[self.open_epoch] = Epoch()
            self._changed.notify_all()

    def wait_complete(self) -> bool:
        """Wait until the current epoch can be committed; False when none will be."""
        with self._changed:
            self._changed.wait_for(
                lambda: self.closed or (self.abort_reason is None and self.current.complete)
            )
            return not self.closed

    def wait_committed(self, number: int, timeout_seconds: float) -> bool:
        """Wait until an epoch is committed, or must be aborted; False if the time ran out first."""
        with self._changed:
            return self._changed.wait_for(
                lambda: self.committing_epoch > number or self.abort_reason is not None,
                max(timeout_seconds, 0),
            )

    @property
    def current(self) -> Epoch:
        """Return the epoch that is committed next."""
        with self._changed:
            return self._epochs[self.committing_epoch]

    def mark_aborted(self, why: str) -> None:
        """Say that nothing can be committed before all is begun again; the first reason counts."""
        with self._changed:
            if self.abort_reason is None:
                self.abort_reason = why
                log_event("transaction_abort_required", why=why)
            self._changed.notify_all()

    def committed(self) -> None:
        """Go on to the next epoch."""
        with self._changed:
            del self._epochs[self.committing_epoch]
            self.committing_epoch += 1
            self._changed.notify_all()

    def abort(self) -> None:
        """Mark all epochs as aborted: what fails from here on is no news."""
        with self._changed:
            for epoch in self._epochs.values():
                epoch.aborted = True

    def reset(self) -> list[OutgoingBatch]:
        """Begin with a new epoch and no abort reason; return the outcomes that are dropped."""
        with self._changed:
            lost = [outgoing for epoch in self._epochs.values() for outgoing in epoch.outcomes]
            self.open_epoch += 1
            self.committing_epoch = self.open_epoch
            self._epochs = {self.open_epoch: Epoch()}
            self.abort_reason = None
            self._changed.notify_all()
            return lost

    def close(self) -> None:
        """Let no one wait, or add, any more."""
        with self._changed:
            self.closed = True
            self._changed.notify_all()
