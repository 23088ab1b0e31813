"""Servables and their handles, for tests of the stages that use them."""

import threading
from collections.abc import Callable, Collection, Mapping
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.kinds.servable import Columns, Signature, TensorSpec

DOUBLE = Signature(
    {"x": TensorSpec(np.dtype(np.float32), ())}, {"y": TensorSpec(np.dtype(np.float32), ())}
)


class Doubling:
    """Doubles numbers; fails on those that it is told not to like. Notes the sizes it was given."""

    def __init__(self, dislikes: float | None = None, error: Exception | None = None) -> None:
        self.dislikes = dislikes
        self.error = error or InvalidArgumentError("not this one")
        self.sizes: list[int] = []
        self.failing: Exception | None = None
        self.before: Callable[[], None] = lambda: None

    @property
    def signatures(self) -> Mapping[str, Signature]:
        return {"serving_default": DOUBLE}

    def predict(
        self,
        inputs: Columns,
        signature_name: str = "serving_default",  # noqa: ARG002
    ) -> Mapping[str, NDArray[Any]]:
        self.before()
        self.sizes.append(len(inputs["x"]))
        if self.failing is not None:
            raise self.failing
        if self.dislikes is not None and self.dislikes in inputs["x"]:
            raise self.error
        return {"y": inputs["x"] * 2}


class Costly(Doubling):
    """A servable of which a row takes as much of a call as its `cost` says. Notes what came."""

    def __init__(self, cost: Callable[[float], float]) -> None:
        super().__init__()
        self.cost = cost
        self.calls: list[list[float]] = []

    def row_costs(
        self,
        inputs: Columns,
        signature_name: str,  # noqa: ARG002
    ) -> NDArray[np.float64]:
        """Return the cost of each number."""
        return np.array([self.cost(x) for x in inputs["x"].tolist()])

    def predict(
        self, inputs: Columns, signature_name: str = "serving_default"
    ) -> Mapping[str, NDArray[Any]]:
        self.calls.append(inputs["x"].tolist())
        return super().predict(inputs, signature_name)


class CountedHandle:
    """A handle that notes whether it is open."""

    def __init__(self, servable: Any, servable_id: ServableId, served: "Served") -> None:
        self.servable = servable
        self.id = servable_id
        self._served = served

    def __enter__(self) -> "CountedHandle":
        with self._served.lock:
            self._served.open_handles += 1
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        with self._served.lock:
            self._served.open_handles -= 1


class Served:
    """Versions by number, as a manager gives them out; the latest is the highest."""

    def __init__(self, versions: Mapping[int, Any], name: str = "digits") -> None:
        self.name = name
        self.versions = dict(versions)
        self.labels: dict[str, int] = {}
        self.coming: set[int | None] = set()
        self.is_removed = False
        self.handles = 0
        self.open_handles = 0
        self.lock = threading.Lock()
        self.default: Callable[[], int | None] = lambda: max(self.versions, default=None)

    def get_servable_handle(self, request: ServableRequest) -> CountedHandle:
        version = request.version
        if request.label is not None:
            if request.label not in self.labels:
                raise InvalidArgumentError(f"unrecognized label {request.label}")
            version = self.labels[request.label]
        if version is None:
            version = self.default()
        if version not in self.versions:
            raise NotFoundError(f"{request.name} has no version {version}")
        assert version is not None
        with self.lock:
            self.handles += 1
        return CountedHandle(self.versions[version], ServableId(self.name, version), self)

    def names(self) -> Collection[str]:
        return () if self.is_removed else (self.name,)

    def may_become_available(self, request: ServableRequest) -> bool:
        return request.default_version or request.version in self.coming or not self.versions
