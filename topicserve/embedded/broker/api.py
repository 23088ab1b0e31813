from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from topicserve.embedded.broker.broker import EmbeddedBroker


class ClientInfo(NamedTuple):
    """Who asks."""

    client_id: str
    host: str


Response = Any
"""A response of kafka.protocol's; None where the protocol has none."""

Handler = Callable[[EmbeddedBroker, Any, ClientInfo], Response | Awaitable[Response]]


class Api(NamedTuple):
    """One kind of request: its class, the versions that are understood, and who answers it."""

    request_class: Any
    min_version: int
    max_version: int
    handler: Handler

    @property
    def key(self) -> int:
        """Return the protocol's number of this kind."""
        return int(self.request_class.API_KEY)
