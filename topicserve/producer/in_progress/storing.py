"""Stores the metadata of records before they are sent, and waits for a store that is away."""

import threading
from collections.abc import Callable, Mapping
from contextlib import suppress

from topicserve.backends.errors import BackendError, BackendUnavailableError
from topicserve.backends.metadata_store import MetadataStore
from topicserve.backoff import Backoff

_BACKOFF = Backoff(0.05, 2.0, jitter=0.2)
_NO_ANSWER_YET = "the metadata store has not answered yet"


class MetadataStoring:
    """Belongs to the thread that publishes, but for `problem` and `give_up`."""

    def __init__(self, store: MetadataStore | None, clock: Callable[[], float]) -> None:
        self._store = store
        self._clock = clock
        self._gave_up = threading.Event()
        self.problem = ""  # one assignment, no lock
        """Why records wait for the store; empty while none does. For a person."""

    def store(self, metadata: Mapping[str, bytes], deadline: float) -> None:
        """Store it, waiting for a store that is away; BackendUnavailableError at the deadline."""
        if not metadata:
            return
        assert self._store is not None  # the publisher has refused metadata otherwise
        self.problem = _NO_ANSWER_YET
        try:
            for pause in _BACKOFF.pauses():
                try:
                    self._store.put_many(metadata)
                except BackendUnavailableError as error:
                    self.problem = str(error)
                    is_late = self._clock() + pause >= deadline
                    if is_late or self._gave_up.wait(pause):
                        raise
                else:
                    return
        finally:
            self.problem = ""

    def remove(self, metadata: Mapping[str, bytes]) -> None:
        """Remove it, in one attempt: otherwise the store's own TTL does."""
        if metadata and self._store is not None and not self._gave_up.is_set():
            with suppress(BackendError):
                self._store.delete_many(list(metadata))

    def give_up(self) -> None:
        """Wait for the store no longer."""
        self._gave_up.set()
