"""One KafkaProducer after another: kafka-python's does not survive everything.

Seen in 3.0.12: when a batch that was sent before expires, an idempotent KafkaProducer forgets its
producer id and never asks for another, so that nothing is sent any more; a transactional one
raises in its sender thread for ever. Both are given up and followed by a new one, as is one that
does not answer to a transactional call.
"""

import contextlib
import threading
from collections.abc import Iterator
from typing import Any

import kafka
from kafka import errors
from kafka.future import Future

from topicserve.backends.errors import BackendError, BackendUnavailableError
from topicserve.backends.kafka_python.connection import ClientNetwork
from topicserve.backends.kafka_python.silence import SilentBrokers
from topicserve.backends.kafka_python.workarounds.client import (
    keep_requests,
    retry_timed_out_requests,
    tell_given_up,
)

_DISCARD_SECONDS = 60.0


class KafkaPythonProducerClient:
    """The KafkaProducer of the moment, opened when it is first asked for. Any thread may call."""

    def __init__(self, arguments: dict[str, Any], silent: SilentBrokers | None = None) -> None:
        """Take KafkaProducer's arguments, and what all clients know of the brokers."""
        self._arguments = arguments
        self._silent = silent or SilentBrokers()
        self._opening = threading.Lock()  # guards the two below
        self._client: Any = None
        self._closed = False
        self.network = ClientNetwork(self._silent)

    def opened(self, timeout_seconds: float) -> Any:
        """Return the client. Raises what `Network.open` raises."""
        with self._opening:
            if self._closed:
                raise BackendError("the producer is closed")
            if self._client is None:
                network = ClientNetwork(self._silent)
                client = network.open(kafka.KafkaProducer, self._arguments, timeout_seconds)
                keep_requests(client)
                retry_timed_out_requests(client)
                tell_given_up(client)
                self._client = client
                self.network = network
            return self._client

    @contextlib.contextmanager
    def borrow(self, timeout_seconds: float) -> Iterator[Any]:
        """Lend the client; what fails as it was given up meanwhile is BackendUnavailableError."""
        client = self.opened(timeout_seconds)
        try:
            yield client
        except (BackendError, RuntimeError) as error:
            if self.is_current(client):
                raise
            raise BackendUnavailableError(
                "kafka-python: its client was replaced meanwhile"
            ) from error

    def is_current(self, client: Any) -> bool:
        """Tell whether no one has given this client up."""
        return client is self._client

    def give_up(self, lost: Any = None) -> None:
        """Fail what the client still has; the next call opens another.

        With `lost` only that client: where it was replaced before, nothing is to be done.
        """
        with self._opening:
            if lost is not None and lost is not self._client:
                return
            client, self._client = self._client, None
        if client is not None:
            # Its holder would wait for topics that it does not know until its time is up.
            client._metadata.request_update = _refuse_update  # noqa: SLF001 - see above
            _discard_aside(client)

    def close(self, timeout_seconds: float) -> None:
        """Send nothing any more; what the client still has after the time given fails."""
        with self._opening:
            self._closed = True
            client, self._client = self._client, None
        if client is None:
            return
        try:
            client.close(timeout=timeout_seconds)
        except errors.KafkaTimeoutError:
            _discard_aside(client)


def _refuse_update() -> Future:
    return Future().failure(errors.KafkaError("the client was given up"))


def _discard_aside(client: Any) -> None:
    threading.Thread(
        target=_discard, args=(client,), name="kafka-python-discard", daemon=True
    ).start()


def _discard(client: Any) -> None:
    # `close` alone waits for a flush that never ends, and then leaves the sender running.
    sender = client._sender  # noqa: SLF001 - see above
    sender.force_close()
    sender.join(_DISCARD_SECONDS)
    _end_transactional_calls(client)
    with contextlib.suppress(errors.KafkaTimeoutError):
        client.close(timeout=0)


def _end_transactional_calls(client: Any) -> None:
    """Let calls return that wait for an answer without a limit: no one will send what they ask."""
    manager = client._transaction_manager  # noqa: SLF001 - there is no other place
    if manager is not None:
        for *_, request in manager._pending_requests:  # noqa: SLF001
            request.fail(errors.KafkaTimeoutError("the client was given up"))
