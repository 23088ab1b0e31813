"""Opens kafka-python's clients so that one which cannot connect leaves nothing behind."""

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from kafka import errors
from kafka.net.compat import KafkaNetClient
from kafka.net.selector import NetworkSelector

from topicserve.backends.errors import AuthenticationError, BackendUnavailableError
from topicserve.backends.kafka_python.errors import translated

T = TypeVar("T")


class Network:
    """The event loop and the connections of one client; `kafka_client` makes it use them."""

    def __init__(self) -> None:
        self._net: Any = None
        self._client: Any = None

    def open(self, kind: Callable[..., T], arguments: dict[str, Any], timeout_seconds: float) -> T:
        """Return a client, which connects when it is made, within the time given.

        Raises BackendUnavailableError, AuthenticationError, BackendConfigError; kafka-python would
        leave a thread and its sockets behind each time.
        """
        bootstrap = {"bootstrap_timeout_ms": max(int(timeout_seconds * 1000), 1)}
        try:
            with translated():
                return kind(**arguments, **bootstrap, kafka_client=self._make)
        except BaseException as error:
            failure = self._authentication_failure()
            self._close()
            if failure is not None and isinstance(error, BackendUnavailableError):
                raise AuthenticationError(f"Kafka refused us: {failure}") from error
            raise

    @property
    def cluster(self) -> Any:
        """Return what is known of topics and brokers."""
        return self._client.cluster

    def call_soon(self, callback: Callable[[], object]) -> None:
        """Have the event loop's thread call this."""
        self._net.call_soon_threadsafe(callback)

    def refresh_metadata(self, timeout_seconds: float) -> bool:
        """Ask a broker for the topics that the client follows; False if none answers in time."""
        answered = threading.Event()
        update = self._client.cluster.request_update()
        update.add_both(lambda _: answered.set())
        self._client.wakeup()
        if not answered.wait(timeout_seconds):
            return False
        # Where the only topic asked for is unknown, the answer comes as an error.
        return update.exception is None or isinstance(update.exception, errors.BrokerResponseError)

    def _make(self, **configs: Any) -> Any:
        self._net = NetworkSelector(**configs)
        self._client = KafkaNetClient(net=self._net, **configs)
        return self._client

    def _authentication_failure(self) -> Exception | None:
        if self._client is None:
            return None
        for broker in self._client.cluster.bootstrap_brokers():
            failure: Exception | None = self._client._manager.auth_failure(broker.node_id)  # noqa: SLF001 - nobody else tells a wrong password from a broker that is away
            if failure is not None:
                return failure
        return None

    def _close(self) -> None:
        if self._client is not None:
            self._client.close()
