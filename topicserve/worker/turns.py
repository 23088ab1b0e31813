"""Batches are predicted in parallel, but publish in the order in which they were cut."""

import threading
from collections.abc import Generator
from contextlib import contextmanager

from topicserve.worker.request import Batch

# Far more than there can be threads with a batch of an old epoch in their hands.
_KEPT_EPOCHS = 64


class Turns:
    """Lets one batch of an epoch through at a time, by its sequence number."""

    def __init__(self) -> None:
        self._changed = threading.Condition()
        self._next: dict[int, int] = {}

    @contextmanager
    def turn(self, batch: Batch) -> Generator[None]:
        """Wait for the batch's turn and keep it for the block.

        Every batch that was cut must pass here once, whatever became of it, or those behind wait
        for ever.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._next.get(batch.epoch, 0) == batch.sequence)
        try:
            yield
        finally:
            with self._changed:
                self._next[batch.epoch] = batch.sequence + 1
                for old in [epoch for epoch in self._next if epoch < batch.epoch - _KEPT_EPOCHS]:
                    del self._next[old]
                self._changed.notify_all()
