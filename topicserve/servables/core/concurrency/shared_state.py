"""Something costly that the servables of one adapter use together: a channel, a cache, a pool."""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from topicserve.servables.core.errors import FailedPreconditionError

T = TypeVar("T")


class SharedState(Generic[T]):
    """Made once, used by many, and torn down when the last user is gone.

    Deferred, it is made by the first `acquire` and destroyed by the last `release`; the next
    `acquire` makes it again. Eager, it is made here and lives until `close`. A loader acquires in
    its load and releases in its unload. Any thread may call; making and destroying happen under the
    lock, so that two never exist at once, and who wants it meanwhile waits.
    """

    def __init__(
        self, create: Callable[[], T], destroy: Callable[[T], None], *, eager: bool = False
    ) -> None:
        self._create = create
        self._destroy = destroy
        self._lock = threading.Lock()
        self._users = 0
        # Held in a tuple: None may be a state as any other.
        self._state: tuple[T] | None = None
        self._is_closed = False
        self._is_eager = eager
        if eager:
            self._state = (create(),)

    def acquire(self) -> T:
        """Return the state, and count one user more; what `create` raises leaves all as it was.

        Raises FailedPreconditionError after `close`.
        """
        with self._lock:
            if self._is_closed:
                raise FailedPreconditionError("the shared state was closed")
            if self._state is None:
                self._state = (self._create(),)
            self._users += 1
            return self._state[0]

    def release(self) -> None:
        """Count one user less. Once for every `acquire`."""
        with self._lock:
            if self._users == 0:
                raise FailedPreconditionError("the shared state is released, but not acquired")
            self._users -= 1
            self._destroy_if_unused()

    def close(self) -> None:
        """Let no one acquire it any more; destroy it as soon as no one uses it. Idempotent."""
        with self._lock:
            self._is_closed = True
            self._destroy_if_unused()

    def _destroy_if_unused(self) -> None:
        is_kept = self._is_eager and not self._is_closed
        if self._users or is_kept or self._state is None:
            return
        (state,), self._state = self._state, None
        self._destroy(state)
