"""Brokers that did not answer in time, as all clients of one port know them.

A broker whose machine is lost closes no connection: each client that asks it waits for its request
timeout, and kafka-python learns nothing of it that its other clients know. So a producer sent to a
broker that the consumer had just given up, and look-ups of metadata went to it again.
"""

import contextlib
import threading
from collections.abc import Callable
from typing import Any, NamedTuple
from weakref import WeakSet

from kafka import errors

# While a broker is silent its partitions' new leaders are asked for so often.
ASK_SECONDS = 1.0


class Address(NamedTuple):
    """Where a broker is: it has another id in each client, and one more as a coordinator."""

    host: str
    port: int


class SilentBrokers:
    """Shared by the clients of one port. Any thread may call."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._silent: set[Address] = set()
        self._clients: WeakSet[SilentBrokerWatch] = WeakSet()

    def add(self, client: "SilentBrokerWatch") -> None:
        """Have a client told of brokers that fall silent."""
        with self._lock:
            self._clients.add(client)

    def fell_silent(self, address: Address) -> None:
        """Note a broker that left a request unanswered, and have every client look elsewhere."""
        with self._lock:
            self._silent.add(address)
            clients = list(self._clients)
        for client in clients:
            client.look_elsewhere_soon()

    def answered(self, address: Address) -> None:
        """Note that a broker answers again."""
        with self._lock:
            self._silent.discard(address)

    def __contains__(self, address: object) -> bool:
        return address in self._silent


class SilentBrokerWatch:
    """What one client does about silent brokers; all but the first method run in its event loop."""

    def __init__(self, manager: Any, net: Any, silent: SilentBrokers) -> None:
        self._manager = manager
        self._net = net
        self._silent = silent
        self._is_asking = False
        silent.add(self)

    def look_elsewhere_soon(self) -> None:
        """Have the loop do what `_look_elsewhere` says. Any thread may call."""
        with contextlib.suppress(RuntimeError):  # the client is closed
            self._net.call_soon_threadsafe(self._look_elsewhere)

    def watch(self, connection: Any, node_id: Any) -> None:
        """Note what comes of a new connection."""
        address = self.address_of(node_id)
        if address is not None:
            silent = self._silent
            connection.init_future.add_callback(lambda _: silent.answered(address))
            connection.close_future.add_errback(_noting(silent, address))

    def address_of(self, node_id: Any) -> Address | None:
        """Return where a broker is, None if the client does not know it any more."""
        node = self._manager.cluster.broker_metadata(node_id)
        return None if node is None else Address(node.host, node.port)

    def is_silent(self, node_id: Any) -> bool:
        """Return whether a broker was last heard to be silent."""
        return self.address_of(node_id) in self._silent

    def least_loaded_other(self) -> Any:
        """Return a broker that may answer, with few requests in flight; None if there is none."""
        manager = self._manager
        others = [
            broker.node_id
            for broker in manager.cluster.brokers()
            if not self.is_silent(broker.node_id) and not manager.connection_delay(broker.node_id)
        ]
        return min(others, key=self._in_flight, default=None)

    def _look_elsewhere(self) -> None:
        """Leave connections on which nothing is waited for, and ask who leads now.

        What is sent to such a broker next must connect first, and it is not sent at all where the
        answer comes before. If it was only slow it answers the new connection.
        """
        if self._manager.closed or not self._manager.bootstrapped:
            return
        for node_id, connection in list(self._connections().items()):
            is_idle = connection.connected and not connection.in_flight_requests
            if is_idle and self.is_silent(node_id):
                connection.close()
        self._ask_again()

    def _ask_again(self) -> None:
        if self._is_asking or self._manager.closed or not self._leads_silently():
            return
        self._is_asking = True
        self._manager.cluster.request_update()
        self._net.call_later(ASK_SECONDS, self._asked)

    def _asked(self) -> None:
        self._is_asking = False
        self._ask_again()

    def _leads_silently(self) -> bool:
        cluster = self._manager.cluster
        return any(
            cluster.partitions_for_broker(broker.node_id) and self.is_silent(broker.node_id)
            for broker in cluster.brokers()
        )

    def _in_flight(self, node_id: Any) -> tuple[bool, int]:
        connection = self._connections().get(node_id)
        if connection is None or not connection.connected:
            return True, 0
        return bool(connection.paused), len(connection.in_flight_requests)

    def _connections(self) -> dict[Any, Any]:
        found: dict[Any, Any] = self._manager._conns  # noqa: SLF001 - there is no other way
        return found


def _noting(silent: SilentBrokers, address: Address) -> Callable[[Exception], None]:
    def note(error: Exception) -> None:
        if isinstance(error, errors.RequestTimedOutError):
            silent.fell_silent(address)

    return note
