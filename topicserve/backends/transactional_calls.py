"""A producer's transactional calls: each within its time, whatever its client does."""

from collections.abc import Callable
from typing import TypeVar

from topicserve.backends.bounded_calls import BoundedCalls

T = TypeVar("T")


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
