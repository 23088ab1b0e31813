"""What a kind is given by the core: servables to build on, here ones that a test holds itself."""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from topicserve.servables.core.errors import InvalidArgumentError
from topicserve.servables.core.managers.serving_map import ServingMap
from topicserve.servables.core.servable_handle import PinnedServable, ServableHandle
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.kinds.servable import Columns, Servable, Signature


class ServablesInMemory:
    """A KindContext whose servables a test publishes; a label is resolved as ServerCore does."""

    def __init__(self, servables: Mapping[tuple[str, int], Servable] | None = None) -> None:
        self.labels: dict[tuple[str, str], int] = {}
        self.pinned: list[PinnedServable] = []
        self._map = ServingMap()
        self.publish(servables or {})

    def publish(self, servables: Mapping[tuple[str, int], Servable]) -> None:
        """Make these available, and nothing else."""
        self.pinned = [PinnedServable(ServableId(*key), one) for key, one in servables.items()]
        self._map.publish(self.pinned)

    @property
    def open_handles(self) -> int:
        """Return how many handles on what is published are open."""
        return sum(pinned.open_handles for pinned in self.pinned)

    def get_servable_handle(self, request: ServableRequest) -> ServableHandle[Servable]:
        (handle,) = self.get_servable_handles([request])
        return handle

    def get_servable_handles(
        self, requests: Sequence[ServableRequest]
    ) -> list[ServableHandle[Servable]]:
        pinned = self._map.pin_all([self._resolved(request) for request in requests])
        return [ServableHandle(one, sys._getframe(1)) for one in pinned]

    def _resolved(self, request: ServableRequest) -> ServableRequest:
        if request.label is None:
            return request
        version = self.labels.get((request.name, request.label))
        if version is None:
            raise InvalidArgumentError(f"{request}: there is no such label")
        return ServableRequest.specific(request.name, version)


class FunctionServable:
    """A servable made of a function on columns."""

    def __init__(self, signature: Signature, function: Any) -> None:
        self.signatures = {"serving_default": signature}
        self._function = function

    def predict(self, inputs: Columns, signature_name: str = "serving_default") -> Columns:
        assert signature_name in self.signatures
        outputs: Columns = self._function(inputs)
        return outputs
