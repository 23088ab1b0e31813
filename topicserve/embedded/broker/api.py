"""What a request handler is: the types that handlers, the table of requests and frames share."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from topicserve.embedded.broker.broker import EmbeddedBroker


class ClientInfo(NamedTuple):
    """Who asks: the client id that the request names, and the address it comes from."""

    client_id: str
    host: str


Response = Any
"""A response of kafka.protocol's; None where the protocol has none."""

Handler = Callable[[EmbeddedBroker, Any, ClientInfo], Response | Awaitable[Response]]


class Api(NamedTuple):
    """One kind of request: its class, the versions that are understood, and who answers it.

    A handler runs on the event loop's thread. It answers at once, or returns an awaitable: then the
    requests behind it on its connection wait, and other connections go on. An error of one topic,
    partition or member goes into the response; a handler that raises ends the connection.
    """

    request_class: Any
    min_version: int
    max_version: int
    handler: Handler

    @property
    def key(self) -> int:
        """Return the protocol's number of this kind."""
        return int(self.request_class.API_KEY)
