"""Loads what is asked for when it is asked for (TF Serving: core/caching_manager.h)."""

import threading
import time
from collections import OrderedDict
from collections.abc import Sequence
from functools import partial
from typing import Protocol

from topicserve.servables.core.errors import (
    DeadlineExceededError,
    FailedPreconditionError,
    NotFoundError,
    ServableError,
)
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.manager import Manager
from topicserve.servables.core.managers.basic_manager import BasicManager, BasicManagerOptions
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.servable_handle import PinnedServable
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.source_adapter import SourceAdapter
from topicserve.servables.core.storage_path import StoragePath


class LoaderFactory(Protocol):
    """Makes loaders on demand. Any thread may call it."""

    def create_loader(self, servable_id: ServableId) -> ServableData[Loader]:
        """Return a loader for the version, or the error why there is none."""

    def servable_version(self, request: ServableRequest) -> int:
        """Return which version is the latest or the earliest of a name, loaded or not."""


class CachingManager(Manager):
    """A lookup of what is not loaded waits until it is; those for the same version share a load.

    Any thread may call it. `_changed` guards which loads are in progress and which versions were
    used last; it is not held during a load.

    At most `max_servables` stay loaded, those used last; one with open handles goes when they are
    closed. A load that failed is tried again by the next lookup. A lookup that waits longer than
    `timeout_seconds` ends in DeadlineExceededError, and its load goes on.
    """

    def __init__(
        self,
        factory: LoaderFactory,
        options: BasicManagerOptions | None = None,
        *,
        max_servables: int | None = None,
        timeout_seconds: float = 600.0,
    ) -> None:
        self._factory = factory
        self._basic = BasicManager(options)
        self._max_servables = max_servables
        self._timeout_seconds = timeout_seconds
        self._changed = threading.Condition()
        self._loads: dict[ServableId, _Load] = {}
        self._used: OrderedDict[ServableId, None] = OrderedDict()
        self._leaving: set[ServableId] = set()

    def list_available_servable_ids(self) -> list[ServableId]:
        """Return what is loaded now, in order."""
        return self._basic.list_available_servable_ids()

    def pin_servable(self, request: ServableRequest) -> PinnedServable:
        """Return what is asked for, loaded first where it must be, or raise what that raised."""
        servable_id = self._resolve(request)
        exact = ServableRequest.from_id(servable_id)
        deadline = time.monotonic() + self._timeout_seconds
        while True:
            try:
                pinned = self._basic.pin_servable(exact)
            except NotFoundError:
                self._load(servable_id, deadline)
            else:
                self._touch(servable_id)
                return pinned

    def pin_servables(self, requests: Sequence[ServableRequest]) -> list[PinnedServable]:
        """Return all of what is asked for; each is loaded first where it must be."""
        pinned: list[PinnedServable] = []
        try:
            for request in requests:
                pinned.append(self.pin_servable(request))  # noqa: PERF401
        except ServableError:
            for one in pinned:
                one.unpin()
            raise
        return pinned

    def close(self, timeout_seconds: float) -> bool:
        """Unload everything, as BasicManager.close says."""
        return self._basic.close(timeout_seconds)

    def _resolve(self, request: ServableRequest) -> ServableId:
        if request.version is not None:
            return ServableId(request.name, request.version)
        return ServableId(request.name, self._factory.servable_version(request))

    def _load(self, servable_id: ServableId, deadline: float) -> None:
        """Load, or wait for who does; raise the load's error."""
        with self._changed:
            load = self._loads.get(servable_id)
            is_ours = load is None
            if load is None:
                load = self._loads[servable_id] = _Load()
        if is_ours:
            self._begin(servable_id, load, deadline)
        with self._changed:
            remaining = deadline - time.monotonic()
            if not self._changed.wait_for(lambda: load.is_done, max(0.0, remaining)):
                raise DeadlineExceededError(f"{servable_id} is still being loaded")
        if load.error is not None:
            raise load.error

    def _begin(self, servable_id: ServableId, load: "_Load", deadline: float) -> None:
        with self._changed:
            remaining = deadline - time.monotonic()
            self._changed.wait_for(lambda: servable_id not in self._leaving, max(0.0, remaining))
        try:
            self._basic.manage(self._factory.create_loader(servable_id))
        except ServableError as error:
            self._ended(servable_id, load, error)
        else:
            self._basic.load(servable_id, lambda error: self._loaded(servable_id, load, error))

    def _loaded(self, servable_id: ServableId, load: "_Load", error: ServableError | None) -> None:
        if error is None:
            self._touch(servable_id)
            self._evict()
        else:
            # Or it would stay in error for ever.
            self._basic.stop_managing(servable_id)
        self._ended(servable_id, load, error)

    def _ended(self, servable_id: ServableId, load: "_Load", error: ServableError | None) -> None:
        with self._changed:
            load.error, load.is_done = error, True
            del self._loads[servable_id]
            self._changed.notify_all()

    def _touch(self, servable_id: ServableId) -> None:
        with self._changed:
            if servable_id not in self._leaving:
                self._used[servable_id] = None
                self._used.move_to_end(servable_id)

    def _evict(self) -> None:
        """Unload what was used longest ago, until no more than the limit stay."""
        if self._max_servables is None:
            return
        with self._changed:
            excess = max(0, len(self._used) - self._max_servables)
            leaving = [self._used.popitem(last=False)[0] for _ in range(excess)]
            self._leaving.update(leaving)
        for servable_id in leaving:
            self._basic.unload(servable_id, partial(self._left, servable_id))

    def _left(self, servable_id: ServableId, error: ServableError | None) -> None:  # noqa: ARG002
        self._basic.stop_managing(servable_id)
        with self._changed:
            self._leaving.discard(servable_id)
            self._changed.notify_all()


class _Load:
    """A load that lookups wait for."""

    def __init__(self) -> None:
        self.is_done = False
        self.error: ServableError | None = None


class PathPrefixLoaderFactory:
    """Makes a loader of the path prefix/NAME. There is one version of a name: 0."""

    def __init__(self, path_prefix: str, adapter: SourceAdapter[StoragePath, Loader]) -> None:
        self._path_prefix = path_prefix
        self._adapter = adapter

    def create_loader(self, servable_id: ServableId) -> ServableData[Loader]:
        """Return the loader, or FailedPreconditionError for another version."""
        if servable_id.version != 0:
            return ServableData.failed(
                servable_id,
                FailedPreconditionError(f"{servable_id}: only version 0 is supported here"),
            )
        path = StoragePath(f"{self._path_prefix}/{servable_id.name}")
        return self._adapter.adapt_one_version(ServableData(servable_id, path))

    def servable_version(self, request: ServableRequest) -> int:  # noqa: ARG002
        """Return 0."""
        return 0
