"""The first fault of the worker's own, from whichever thread met it."""

import threading


class FatalError:
    """Remembers the first error reported: what the worker must not survive.

    Any thread may call it. `report` does not block; `error` is read without the lock, at every turn
    of the polling loop, which ends then, and by batch threads that wait for acknowledgements. The
    thread that reported ends its own work.
    """

    def __init__(self) -> None:
        self._reported = threading.Condition()
        self.error: BaseException | None = None

    def report(self, error: BaseException) -> None:
        """Note that there is no sense in going on: the worker stops, nothing more is committed."""
        with self._reported:
            if self.error is None:
                self.error = error
            self._reported.notify_all()

    def wait(self, timeout_seconds: float) -> bool:
        """Wait for a report; False if the time ran out first."""
        with self._reported:
            return self._reported.wait_for(lambda: self.error is not None, timeout_seconds)
