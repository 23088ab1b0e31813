"""Batches are predicted in parallel, and settled in the order in which they were cut."""

import threading
from collections.abc import Callable, Collection
from typing import TypeAlias

from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.request import Batch

Settle: TypeAlias = Callable[[Collection[PartitionAssignment] | None], None]
"""Publishes or requeues a batch: the records of these assignments, or all of them for None."""


class PublishOrder:
    """Keeps the order of each partition's records. Any thread may call it; nothing waits.

    A batch whose turn has not come is left here, partition by partition, and settled by the thread
    that settles its predecessor. So a batch that hangs holds back its own partitions alone, and
    no thread.
    """

    def __init__(self) -> None:
        # Guards `PartitionAssignment.settled` and what waits here.
        self._lock = threading.Lock()
        self._waiting: dict[PartitionAssignment, dict[int, Settle]] = {}

    def settle(self, batch: Batch, settle: Settle) -> None:
        """Settle a batch now or later. Every batch that was cut must come here exactly once."""
        with self._lock:
            is_next = all(assignment.settled == turn for assignment, turn in batch.turns.items())
            if not is_next:
                for assignment, turn in batch.turns.items():
                    self._waiting.setdefault(assignment, {})[turn] = settle
        if is_next:
            try:
                settle(None)
            finally:
                self._pass_on(batch.turns)
        for assignment in batch.turns:
            self._settle_waiting(assignment)

    def waiting(self) -> list[PartitionAssignment]:
        """Return the assignments that have predicted records whose turn has not come."""
        with self._lock:
            return list(self._waiting)

    def _pass_on(self, assignments: Collection[PartitionAssignment]) -> None:
        with self._lock:
            for assignment in assignments:
                assignment.settled += 1

    def _settle_waiting(self, assignment: PartitionAssignment) -> None:
        """Settle what waits for this assignment, one batch after the other, as far as it goes."""
        while True:
            with self._lock:
                turns = self._waiting.get(assignment)
                settle = None if turns is None else turns.pop(assignment.settled, None)
                if turns is not None and not turns:
                    del self._waiting[assignment]
            if settle is None:
                return
            try:
                settle((assignment,))
            finally:
                self._pass_on((assignment,))
