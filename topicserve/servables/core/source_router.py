"""One source, several targets (TF Serving: core/source_router.h and those built on it)."""

import logging
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from typing import TypeVar

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.source import Source
from topicserve.servables.core.source_adapter import AdapterOutput
from topicserve.servables.core.target import TargetBase

T = TypeVar("T")

_logger = logging.getLogger(__name__)


class SourceRouter(TargetBase[T]):
    """Passes each call on to one of its output ports, or to none.

    What comes in waits until all ports are connected.
    """

    def __init__(self, num_output_ports: int) -> None:
        super().__init__()
        self._outputs: list[AdapterOutput[T]] = [AdapterOutput() for _ in range(num_output_ports)]

    @property
    def num_output_ports(self) -> int:
        """Return how many ports there are."""
        return len(self._outputs)

    def get_output_ports(self) -> list[Source[T]]:
        """Return the ports, each a source to be connected."""
        return list(self._outputs)

    @abstractmethod
    def route(self, name: str, versions: Sequence[ServableData[T]]) -> int | None:
        """Return the port for a stream, None to drop the call."""

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[T]]) -> None:
        """Pass on to the port that `route` says."""
        for output in self._outputs:
            output.wait_until_connected()
        port = self.route(name, versions)
        if port is None:
            return
        if not 0 <= port < len(self._outputs):
            _logger.error("%r is routed to port %d of %d: dropped", name, port, len(self._outputs))
            return
        self._outputs[port].send(name, versions)

    def detach(self) -> None:
        """Hear nothing any more; also ends a wait for connections."""
        for output in self._outputs:
            output.close()
        super().detach()


class StaticSourceRouter(SourceRouter[T]):
    """Routes by what a stream's name contains: the first of `substrings`, else the last port."""

    def __init__(self, substrings: Sequence[str]) -> None:
        super().__init__(len(substrings) + 1)
        self._substrings = tuple(substrings)

    def route(
        self,
        name: str,
        versions: Sequence[ServableData[T]],  # noqa: ARG002
    ) -> int:
        """Return the port."""
        matching = (port for port, part in enumerate(self._substrings) if part in name)
        return next(matching, len(self._substrings))


class DynamicSourceRouter(SourceRouter[T]):
    """Routes by a stream's whole name; the last port takes the others.

    The routes may be replaced, all at once, at any time.
    """

    def __init__(self, num_output_ports: int, routes: Mapping[str, int]) -> None:
        super().__init__(num_output_ports)
        self.update_routes(routes)

    @property
    def routes(self) -> Mapping[str, int]:
        """Return the routes in force."""
        return self._routes

    def update_routes(self, routes: Mapping[str, int]) -> None:
        """Replace the routes; InvalidArgumentError for a port that is not there, or the last."""
        last = self.num_output_ports - 1
        for name, port in routes.items():
            if not 0 <= port < last:
                raise InvalidArgumentError(
                    f"route of {name!r}: port {port} must be one of 0 to {last - 1}; port {last} "
                    "is for all other names"
                )
        self._routes = dict(routes)

    def route(
        self,
        name: str,
        versions: Sequence[ServableData[T]],  # noqa: ARG002
    ) -> int:
        """Return the port."""
        return self._routes.get(name, self.num_output_ports - 1)
