"""One confluent_kafka.Producer after another: one that does not answer is followed by a new one."""

import threading
from collections.abc import Callable
from typing import Any, NoReturn

from confluent_kafka import KafkaError

from topicserve.backends.errors import BackendError

_DISCARD_SECONDS = 60.0
_FINISH_POLLS = 60

OpenClient = Callable[[Callable[[KafkaError], None]], Any]
"""Makes a confluent_kafka.Producer, which tells its errors to the argument."""


class ConfluentProducerClient:
    """The confluent_kafka.Producer of the moment, as `current`.

    The producer's threads read `current` without a lock: it is replaced in one assignment.
    `give_up` and `follow_up` return at once; the former client ends on a daemon thread of its own.
    """

    def __init__(self, open_client: OpenClient, on_error: Callable[[KafkaError], None]) -> None:
        """Open the first. `on_error` hears the errors of the current client alone."""
        self._open_client = open_client
        self._on_error = on_error
        self._opened = 0
        self.current = self._open()

    def give_up(self) -> None:
        """Fail what the client still has, and go on with a new one."""
        given_up, self.current = self.current, self._open()
        threading.Thread(
            target=_discard, args=(given_up,), name="confluent-discard", daemon=True
        ).start()

    def follow_up(self) -> None:
        """Go on with a new client, while the old one still sends what it has."""
        former, self.current = self.current, self._open()
        threading.Thread(
            target=_finish, args=(former,), name="confluent-finish", daemon=True
        ).start()

    def close(self) -> None:
        """Send nothing any more, and let the client go: it asks brokers for metadata until then."""
        client, self.current = self.current, _CLOSED
        client.purge()
        client.flush(0)
        # The last to hold it waits until its threads have ended.
        threading.Thread(
            target=_let_go, args=(client,), name="confluent-let-go", daemon=True
        ).start()

    def _open(self) -> Any:
        self._opened += 1
        number = self._opened

        def tell(error: KafkaError) -> None:
            # One that was given up finds itself fenced by its successor.
            if number == self._opened:
                self._on_error(error)

        return self._open_client(tell)


class _Closed:
    """Stands for the client of a producer that is closed."""

    def __getattr__(self, name: str) -> NoReturn:
        raise BackendError("the producer is closed")


_CLOSED = _Closed()


def _let_go(_: Any) -> None:
    """Hold a client until its caller no longer does."""


def _finish(client: Any) -> None:
    # What is being handed to it meanwhile is reported here, too.
    for _ in range(_FINISH_POLLS):
        client.poll(1.0)
    client.flush(_DISCARD_SECONDS)


def _discard(client: Any) -> None:
    # Reports what is purged as failed, for no one polls this client any more. A call that never
    # returns keeps its client, and what that costs, until the process ends.
    client.purge()
    client.flush(_DISCARD_SECONDS)
