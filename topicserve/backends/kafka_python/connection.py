"""Opens kafka-python's clients so that one which cannot connect leaves nothing behind."""

import random
import threading
import weakref
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any, TypeVar

from kafka import errors
from kafka.net.manager import KafkaConnectionManager

from topicserve.backends.errors import (
    AuthenticationError,
    BackendConfigError,
    BackendUnavailableError,
)
from topicserve.backends.kafka_choices import without_values
from topicserve.backends.kafka_python.errors import translated
from topicserve.backends.kafka_python.silence import SilentBrokers, SilentBrokerWatch
from topicserve.backends.kafka_python.workarounds.client import (
    BatchedWakeups,
    CoalescedWakeups,
)
from topicserve.backends.kafka_python.workarounds.frames import (
    SpareMemory,
    receive_into_frames,
)
from topicserve.backends.kafka_python.workarounds.sockets import receive_much_at_once

T = TypeVar("T")

# How long the first try of a bootstrap address may take where there are others; then twice as long.
FIRST_TRY_SECONDS = 1.0


class ClientNetwork:
    """The event loop and the connections of one client; `kafka_client` makes it use them."""

    def __init__(self, silent: SilentBrokers | None = None) -> None:
        """`silent` is what other clients found out about the brokers, and this one will."""
        self._silent = silent or SilentBrokers()
        self._net: Any = None
        self._client: Any = None
        self._opened = False
        self._refused: Exception | None = None

    def open(self, kind: Callable[..., T], arguments: dict[str, Any], timeout_seconds: float) -> T:
        """Return a client, which connects when it is made, within the time given.

        Raises BackendUnavailableError, AuthenticationError, BackendConfigError; kafka-python would
        leave a thread and its sockets behind each time.
        """
        bootstrap = {"bootstrap_timeout_ms": max(int(timeout_seconds * 1000), 1)}
        try:
            with translated():
                client = kind(**arguments, **bootstrap, kafka_client=self._make)
        except BaseException as error:
            if self._client is not None:
                self._client.close()
            if isinstance(error, BackendUnavailableError):
                self.raise_refused()
            if isinstance(error, BackendConfigError):
                raise BackendConfigError(without_values(str(error), arguments)) from None
            raise
        self._opened = True
        return client

    @property
    def cluster(self) -> Any:
        """Return what is known of topics and brokers."""
        return self._client.cluster

    def raise_refused(self) -> None:
        """Raise AuthenticationError if a connection was refused since the last time."""
        refused, self._refused = self._refused, None
        if refused is not None:
            raise AuthenticationError(
                f"Kafka refused the connection: {refused}; check credentials and TLS"
            )

    def held(self) -> AbstractContextManager[None]:
        """Let the I/O thread sleep meanwhile: it finds all that is sent at once."""
        held: AbstractContextManager[None] = self._client.held()
        return held

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
        self._net = CoalescedWakeups(**configs)
        manager = ClientConnections(self._net, self._on_failure, self._silent, **configs)
        self._client = BatchedWakeups(net=self._net, manager=manager, **configs)
        return self._client

    def _on_failure(self, manager: Any, error: Exception) -> None:
        refusals = errors.SaslAuthenticationFailedError, errors.UnsupportedSaslMechanismError
        if isinstance(error, refusals) or "CERTIFICATE_VERIFY_FAILED" in str(error):
            self._refused = error
            if not self._opened:
                manager.close()  # trying until the time is up would not help


class ClientConnections(KafkaConnectionManager):  # type: ignore[misc]  # the library is untyped
    """Tells why a connection failed: kafka-python takes a wrong password for a broker away.

    And it finds a cluster again whose addresses have changed, and leaves out silent brokers.
    """

    def __init__(
        self,
        net: Any,
        on_failure: Callable[[Any, Exception], None],
        silent: SilentBrokers,
        **configs: Any,
    ) -> None:
        super().__init__(net, **configs)
        self._silence = SilentBrokerWatch(weakref.proxy(self), net, silent)
        self._on_failure = on_failure
        self._spare = SpareMemory()
        # kafka-python (3.0.12) takes this setting and never passes it on. An admin has none, and is
        # to create nothing by asking.
        creates = configs.get("allow_auto_create_topics", False)
        self.cluster.config["allow_auto_create_topics"] = creates
        self._tries: Counter[Any] = Counter()
        self._all_bootstrap_brokers = self.cluster.bootstrap_brokers
        self.cluster.bootstrap_brokers = self._least_tried

    def get_connection(
        self, node_id: Any, timeout_ms: float | None = None, *args: Any, **kwargs: Any
    ) -> Any:
        """Return a connection, as the library's own does.

        Only the bootstrap gives a time: all that it has left, though the broker may be silent and
        the next one answer. So where there is another address, each is given a little at first.
        """
        if timeout_ms is not None and len(self._all_bootstrap_brokers()) > 1:
            longest = FIRST_TRY_SECONDS * 1000 * 2.0 ** min(self._tries[node_id], 16)
            timeout_ms = min(timeout_ms, longest)
            self._tries[node_id] += 1
        is_new = node_id not in self._conns
        connection = super().get_connection(node_id, timeout_ms, *args, **kwargs)
        if is_new:
            receive_into_frames(connection, self._spare)
            self._silence.watch(connection, node_id)
        connection.init_future.add_errback(lambda error: self._on_failure(self, error))
        return connection

    def least_loaded_node(self) -> Any:
        """Return a broker for any question, as the library's own does.

        Where none of the known ones can be reached, the bootstrap addresses are asked as well
        (KIP-899): kafka-python would try the known ones for ever, though all may have moved.
        """
        found = super().least_loaded_node()
        if found is not None and self._silence.is_silent(found):
            other = self._silence.least_loaded_other()
            found = found if other is None else other
        known = [broker.node_id for broker in self.cluster.brokers()]
        if any(self._is_reachable(node_id) for node_id in known):
            return found
        bootstrap = [broker.node_id for broker in self._all_bootstrap_brokers()]
        choices = [node_id for node_id in bootstrap if not self.connection_delay(node_id)]
        if found is not None:
            choices.append(found)
        return random.choice(choices) if choices else None

    def _least_tried(self) -> list[Any]:
        """Return the bootstrap brokers of which the library is to choose one at random."""
        brokers = list(self._all_bootstrap_brokers())
        fewest = min((self._tries[broker.node_id] for broker in brokers), default=0)
        return [broker for broker in brokers if self._tries[broker.node_id] == fewest]

    def _is_reachable(self, node_id: Any) -> bool:
        connection = self._conns.get(node_id)
        is_connected = connection is not None and connection.connected
        return is_connected or node_id not in self._backoff  # nothing failed since it was reached

    async def _build_transport(self, *args: Any, **kwargs: Any) -> Any:
        transport = await super()._build_transport(*args, **kwargs)
        receive_much_at_once(transport)
        return transport
