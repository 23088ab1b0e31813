"""Loaders made of functions (TF Serving: core/simple_loader.h)."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from topicserve.servables.core.errors import FailedPreconditionError
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.resources.resource_allocation import ResourceAllocation
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.source_adapter import UnarySourceAdapter
from topicserve.servables.core.storage_path import StoragePath

S = TypeVar("S")

Estimator = Callable[[], ResourceAllocation]


def close_servable(servable: Any) -> None:
    """Call the servable's `close`, where it has one."""
    close = getattr(servable, "close", None)
    if close is not None:
        close()


class SimpleLoader(Loader, Generic[S]):
    """Loads by calling `creator`, unloads by calling `unloader` with the servable.

    `estimator` is asked once; after the load `post_load_estimator`, where given, takes its place:
    loading often takes more than what is loaded.
    """

    def __init__(
        self,
        creator: Callable[[], S],
        estimator: Estimator | None = None,
        post_load_estimator: Estimator | None = None,
        unloader: Callable[[S], None] = close_servable,
    ) -> None:
        self._creator = creator
        self._estimator = estimator
        self._post_load_estimator = post_load_estimator
        self._unloader = unloader
        self._estimate: ResourceAllocation | None = None
        self._servable: S | None = None

    @property
    def servable(self) -> S | None:
        """Return what the creator returned, between load and unload."""
        return self._servable

    def estimate_resources(self) -> ResourceAllocation:
        """Return the estimate, made once before the load and once after it."""
        if self._estimate is None:
            self._estimate = {} if self._estimator is None else self._estimator()
        return self._estimate

    def load(self) -> None:
        """Create the servable."""
        self._take(self._creator())

    def unload(self) -> None:
        """Let the servable go, also where unloading it fails."""
        servable, self._servable = self._servable, None
        if servable is not None:
            self._unloader(servable)

    def _take(self, servable: S) -> None:
        self._servable = servable
        if self._post_load_estimator is not None:
            self._estimate = self._post_load_estimator()


class SimpleLoaderWithId(SimpleLoader[S]):
    """A SimpleLoader whose creator wants to know which version it makes."""

    def __init__(
        self,
        creator: Callable[[ServableId], S],
        estimator: Estimator | None = None,
        post_load_estimator: Estimator | None = None,
        unloader: Callable[[S], None] = close_servable,
    ) -> None:
        super().__init__(self._without_id, estimator, post_load_estimator, unloader)
        self._creator_with_id = creator

    def load_with_id(self, servable_id: ServableId) -> None:
        """Create the servable."""
        self._take(self._creator_with_id(servable_id))

    @staticmethod
    def _without_id() -> S:
        raise FailedPreconditionError("this loader must be told which version it loads")


class SimpleLoaderWithIdSourceAdapter(UnarySourceAdapter[StoragePath, Loader], Generic[S]):
    """Makes loaders of paths. They live on without the adapter.

    When a version is loaded, `creator` is called with its path and id; before that `estimator`
    with the path; `unloader`, by default the servable's own `close`, when it is unloaded.
    """

    def __init__(
        self,
        creator: Callable[[StoragePath, ServableId], S],
        estimator: Callable[[StoragePath], ResourceAllocation] | None = None,
        unloader: Callable[[S], None] | None = None,
    ) -> None:
        super().__init__()
        self._creator = creator
        self._estimator = estimator
        self._unloader = unloader or close_servable

    def convert(self, data: ServableData[StoragePath]) -> Loader:
        """Return a loader for the path."""
        path, creator, estimator = data.payload, self._creator, self._estimator
        return SimpleLoaderWithId(
            lambda servable_id: creator(path, servable_id),
            None if estimator is None else lambda: estimator(path),
            unloader=self._unloader,
        )


class SimpleLoaderSourceAdapter(SimpleLoaderWithIdSourceAdapter[S]):
    """Likewise, for a creator that is called with the path alone."""

    def __init__(
        self,
        creator: Callable[[StoragePath], S],
        estimator: Callable[[StoragePath], ResourceAllocation] | None = None,
        unloader: Callable[[S], None] | None = None,
    ) -> None:
        super().__init__(lambda path, _: creator(path), estimator, unloader)
