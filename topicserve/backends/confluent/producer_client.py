"""One confluent_kafka.Producer after another: one that does not answer is followed by a new one."""

import threading
from collections.abc import Callable
from typing import Any

from confluent_kafka import KafkaError

_DISCARD_SECONDS = 60.0

OpenClient = Callable[[Callable[[KafkaError], None]], Any]
"""Makes a confluent_kafka.Producer, which tells its errors to the argument."""


class ProducerClient:
    """The confluent_kafka.Producer of the moment, as `current`."""

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

    def _open(self) -> Any:
        self._opened += 1
        number = self._opened

        def tell(error: KafkaError) -> None:
            # One that was given up finds itself fenced by its successor.
            if number == self._opened:
                self._on_error(error)

        return self._open_client(tell)


def _discard(client: Any) -> None:
    # Reports what is purged as failed, for no one polls this client any more. A call that never
    # returns keeps its client, and what that costs, until the process ends.
    client.purge()
    client.flush(_DISCARD_SECONDS)
