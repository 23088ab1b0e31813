"""Blocking calls of a client that have no time limit of their own, and transactional ones.

Both adapters use it where a library's call may never return. What was given up keeps its thread
until it does.
"""

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

from topicserve.backends.errors import BackendUnavailableError

T = TypeVar("T")


class BoundedCalls:
    """Makes such calls, one at a time and each on a thread of its own, and waits for so long.

    A call that was given up goes on. Asking for the same again (the same name and subject) waits
    for that one: so a commit that no one answered is not begun a second time behind the first one's
    back. The thread is a daemon: a call that never ends does not keep the process.

    One thread makes the calls; nothing here is locked.
    """

    def __init__(self, thread_name: str) -> None:
        self._thread_name = thread_name
        self._running: _Call[object] | None = None

    @property
    def unanswered(self) -> bool:
        """Tell whether the last call was given up, and has not been asked for to its end since."""
        return self._running is not None

    @property
    def hangs(self) -> bool:
        """Tell whether a call that was given up still goes on."""
        return self._running is not None and not self._running.is_over

    def call(
        self, name: str, function: Callable[[], T], timeout_seconds: float, subject: object = None
    ) -> T:
        """Return what the function returns, or raise what it raises.

        Raises BackendUnavailableError when that takes too long, or an earlier call does.
        """
        running = self._running
        if running is not None and (running.name, running.subject) != (name, subject):
            running.wait(timeout_seconds)
            running = None
        call = running or _Call(name, subject, function, self._thread_name)
        self._running = call
        call.wait(timeout_seconds)
        self._running = None
        return call.result()  # type: ignore[return-value]  # the same name is the same function


class _Call(Generic[T]):
    def __init__(
        self, name: str, subject: object, function: Callable[[], T], thread_name: str
    ) -> None:
        self.name = name
        self.subject = subject
        self._function = function
        self._done = threading.Event()
        self._value: T | None = None
        self._error: BaseException | None = None
        threading.Thread(target=self._run, name=thread_name, daemon=True).start()

    def _run(self) -> None:
        try:
            self._value = self._function()
        except BaseException as error:
            self._error = error
        self._done.set()

    @property
    def is_over(self) -> bool:
        return self._done.is_set()

    def wait(self, timeout_seconds: float) -> None:
        if not self._done.wait(timeout_seconds):
            raise BackendUnavailableError(
                f"Kafka did not answer to {self.name} within {timeout_seconds} s"
            )

    def result(self) -> T | None:
        if self._error is not None:
            raise self._error
        return self._value


class TransactionalCalls:
    """Makes the calls, and replaces a client that does not answer when its transaction is aborted.

    The successor ends what the old client left open by taking its transactional id over. Both
    adapters do it so, since both libraries know calls that never return.
    """

    def __init__(self, thread_name: str) -> None:
        self._thread_name = thread_name
        self._calls = BoundedCalls(thread_name)
        self._is_taking_over = False

    def call(self, name: str, function: Callable[[], T], timeout_seconds: float) -> T:
        """Return what the function returns. Raises BackendUnavailableError after that time.

        Asking for the same again goes on waiting, and so does the next call.
        """
        return self._calls.call(name, function, timeout_seconds)

    def needs_takeover(self, give_up: Callable[[], None], *, is_lost: bool = False) -> bool:
        """Have the client given up if it owes an answer (or is lost), once for each takeover.

        Returns whether its successor is still to take over: to init its transactions, which may
        take several tries, and then to say so by `taken_over`.
        """
        if not self._is_taking_over and (is_lost or self._calls.unanswered):
            give_up()
            self._calls = BoundedCalls(self._thread_name)
            self._is_taking_over = True
        return self._is_taking_over

    def taken_over(self) -> None:
        """Go on with the successor as with any client."""
        self._is_taking_over = False
