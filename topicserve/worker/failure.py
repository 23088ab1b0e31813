"""The first fault of the worker's own, from whichever thread met it."""

import threading


class Failure:
    """Remembers the first error reported. Any thread may call it."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.error: BaseException | None = None

    def report(self, error: BaseException) -> None:
        """Note that there is no sense in going on: the worker stops, nothing more is committed."""
        with self._lock:
            if self.error is None:
                self.error = error
