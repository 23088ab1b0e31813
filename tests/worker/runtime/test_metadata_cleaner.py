import threading
from collections.abc import Sequence

from tests.support.stages.logged import Logged
from tests.worker.stages.test_join import FakeStore
from topicserve.backends.errors import BackendUnavailableError
from topicserve.worker.runtime.metadata_cleaner import MetadataCleaner

LIMIT_SECONDS = 10
MAX_WAITING_BATCHES = 64


class SlowStore(FakeStore):
    """A store that deletes only once it may, or not at all."""

    def __init__(self) -> None:
        super().__init__({"a": b"{}", "b": b"{}", "c": b"{}"})
        self.may_delete = threading.Event()
        self.is_asked = threading.Event()
        self.error: BackendUnavailableError | None = None

    def delete_many(self, record_ids: Sequence[str]) -> None:
        self.is_asked.set()
        self.may_delete.wait(LIMIT_SECONDS)
        if self.error is not None:
            raise self.error
        super().delete_many(record_ids)


def test_metadata_is_deleted_in_the_background() -> None:
    """What was asked for before the end is deleted by then."""
    store = SlowStore()
    store.may_delete.set()
    cleaner = MetadataCleaner(store)
    cleaner.start()

    cleaner.delete(["a", "b"])
    cleaner.close(LIMIT_SECONDS)

    assert store.content.keys() == {"c"}


def test_what_the_store_does_not_delete_is_left_to_its_ttl(logged: Logged) -> None:
    """It is told, and the next is deleted."""
    store = SlowStore()
    store.error = BackendUnavailableError("away")
    store.may_delete.set()
    cleaner = MetadataCleaner(store)
    cleaner.delete(["a", "b"])
    cleaner.start()

    cleaner.close(LIMIT_SECONDS)

    assert logged("metadata_left_to_ttl") == [{"records": 2, "problem": "away"}]
    assert store.content.keys() == {"a", "b", "c"}


def test_a_store_that_is_too_slow_holds_nothing_up(logged: Logged) -> None:
    """So much may wait and no more; the end waits no longer than it may."""
    store = SlowStore()
    cleaner = MetadataCleaner(store)
    cleaner.start()
    cleaner.delete(["a"])
    assert store.is_asked.wait(LIMIT_SECONDS)

    for _ in range(MAX_WAITING_BATCHES + 1):
        cleaner.delete(["b", "c"])
    cleaner.close(0.001)

    assert logged("metadata_left_to_ttl") == [
        {"records": 2, "problem": "too many waiting"},
        {"problem": "the store did not answer in time"},
    ]
    store.may_delete.set()
