"""Tries again what failed, with growing pauses that hold no thread (util/retrier.h)."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass

from topicserve.backoff import Backoff
from topicserve.servables.core.concurrency.timer import Timer
from topicserve.servables.core.errors import CancelledError, ServableError, as_servable_error

_logger = logging.getLogger(__name__)


def _always(error: ServableError) -> bool:  # noqa: ARG001
    return True


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """How often to try again, and how long to pause before."""

    max_retries: int = 5
    interval_seconds: float = 1.0
    """The first pause; each one is twice as long as the one before."""
    max_interval_seconds: float = 60.0
    should_retry: Callable[[ServableError], bool] = _always
    """Asked with each failure; False ends it at once."""

    def pause_seconds(self, failures: int) -> float:
        """Return the pause after so many failures, 1 or more."""
        return Backoff(self.interval_seconds, self.max_interval_seconds).pause_seconds(failures)


class RetriedCall:
    """Makes a call until it succeeds, fails for good, or is cancelled.

    `submit` runs the call somewhere; between two tries nothing waits but the timer. `finished` is
    called once, with the last error or None, where the last try ran.

    Any thread may call `cancel`, once or more; a lock decides between it and a pause that begins at
    the same moment. `call` runs in one thread at a time.
    """

    def __init__(
        self,
        what: str,
        call: Callable[[], None],
        submit: Callable[[Callable[[], None]], None],
        timer: Timer,
        policy: RetryPolicy,
        finished: Callable[[ServableError | None], None],
    ) -> None:
        self._what = what
        self._call = call
        self._submit = submit
        self._timer = timer
        self._policy = policy
        self._finished = finished
        self._lock = threading.Lock()
        self._failures = 0
        self._error: ServableError | None = None
        self._is_cancelled = False
        self._end_pause: Callable[[], bool] | None = None

    def start(self) -> None:
        """Make the first try."""
        self._submit(self._try)

    def cancel(self) -> None:
        """Try no more. A try in progress goes on; a pause ends now, with the error before it."""
        with self._lock:
            self._is_cancelled = True
            end_pause, self._end_pause = self._end_pause, None
        if end_pause is not None and end_pause():
            self._submit(self._try)

    def _try(self) -> None:
        if self._is_cancelled:
            self._finished(self._error or CancelledError(f"{self._what} was cancelled"))
            return
        try:
            self._call()
        # What is called may be a user's own, and may raise anything.
        except BaseException as error:
            self._failed(as_servable_error(error))
        else:
            self._finished(None)

    def _failed(self, error: ServableError) -> None:
        self._failures += 1
        self._error = error
        if self._failures > self._policy.max_retries or not self._policy.should_retry(error):
            _logger.warning("%s failed, try %d, the last: %s", self._what, self._failures, error)
        elif self._pause():
            return
        self._finished(error)

    def _pause(self) -> bool:
        """Have the next try made later, unless cancelled."""
        seconds = self._policy.pause_seconds(self._failures)
        with self._lock:
            if self._is_cancelled:
                return False
            if seconds > 0:
                self._end_pause = self._timer.call_later(seconds, lambda: self._submit(self._try))
            else:
                self._submit(self._try)
        _logger.warning(
            "%s failed, try %d; again in %g s: %s", self._what, self._failures, seconds, self._error
        )
        return True
