"""Deletes metadata that has served its purpose, off the records' path."""

import queue
import threading
from collections.abc import Sequence

from topicserve.backends.errors import BackendError
from topicserve.backends.metadata_store import MetadataStore
from topicserve.worker.telemetry.logging import log_event

# What does not fit is left to its TTL: deleting is tidiness, not duty.
_MAX_WAITING_BATCHES = 64


class MetadataCleaner:
    """Deletes in the background, on a thread of its own."""

    def __init__(self, store: MetadataStore) -> None:
        self._store = store
        self._waiting: queue.Queue[list[str] | None] = queue.Queue(_MAX_WAITING_BATCHES)
        self._thread = threading.Thread(
            target=self._run, name="topicserve-metadata-cleaner", daemon=True
        )

    def start(self) -> None:
        """Start deleting."""
        self._thread.start()

    def delete(self, record_ids: Sequence[str]) -> None:
        """Have metadata deleted soon; never waits."""
        try:
            self._waiting.put_nowait(list(record_ids))
        except queue.Full:
            log_event("metadata_left_to_ttl", records=len(record_ids), problem="too many waiting")

    def close(self, timeout_seconds: float) -> None:
        """Delete what is waiting within the time given, and end."""
        try:
            self._waiting.put(None, timeout=timeout_seconds)
            self._thread.join(timeout_seconds)
        except queue.Full:
            log_event("metadata_left_to_ttl", problem="the store did not answer in time")

    def _run(self) -> None:
        while (record_ids := self._waiting.get()) is not None:
            try:
                self._store.delete_many(record_ids)
            except BackendError as error:
                log_event("metadata_left_to_ttl", records=len(record_ids), problem=str(error))
