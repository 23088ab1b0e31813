"""Everything put together: what a worker serves from (model_servers/server_core.h).

The worker and `topicserve check` open one and ask it for handles, states and metadata.
"""

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from topicserve.backoff import Backoff
from topicserve.servables.core.concurrency.event_bus import EventAndTime, EventBus, Subscription
from topicserve.servables.core.concurrency.timer import TimerThread
from topicserve.servables.core.errors import (
    NotFoundError,
)
from topicserve.servables.core.managers.aspired_versions_manager import AspiredVersionsManager
from topicserve.servables.core.managers.broken_version_retries import BrokenVersionRetries
from topicserve.servables.core.servable_handle import ServableHandle
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState, ServableState
from topicserve.servables.core.servable_state_monitor import ServableStateMonitor
from topicserve.servables.core.source import connect_source_to_target
from topicserve.servables.kinds.registry import known_kinds
from topicserve.servables.kinds.servable import Servable
from topicserve.servables.server.config_checks import check_base_paths, check_configs
from topicserve.servables.server.kind_router import KindRouter
from topicserve.servables.server.load_problems import problem_of, with_load_errors
from topicserve.servables.server.model_config_file import ModelConfigFile
from topicserve.servables.server.model_metadata import model_metadata
from topicserve.servables.server.model_status import model_status
from topicserve.servables.server.request_resolver import RequestResolver
from topicserve.servables.server.servable_config import ServableConfig
from topicserve.servables.server.served_kinds import ServedKinds
from topicserve.servables.server.server_core_options import ServerCoreOptions
from topicserve.servables.server.version_labels import VersionLabels
from topicserve.servables.server.version_roles import VersionRoles
from topicserve.servables.sources.file_system import is_url
from topicserve.servables.sources.file_system_storage_path_source import (
    FileSystemStoragePathSource,
    FileSystemStoragePathSourceConfig,
)
from topicserve.servables.sources.monitored_servable import ServableToMonitor

_MAX_BROKEN_VERSION_INTERVAL_SECONDS = 900.0


class ServerCore:
    """Serves what is configured: finds versions, loads them, swaps them, gives out handles.

        file system source -> router -> an adapter a kind -> manager -> handle -> caller

    Building one reads the model config file and makes the adapters, and raises
    InvalidArgumentError for what is wrong with either; it starts nothing. Any thread may call it.
    """

    def __init__(
        self,
        configs: Sequence[ServableConfig],
        *,
        model_config_file: str | None = None,
        **options: Any,
    ) -> None:
        """Serve `configs` and what TF Serving's `model_config_file` lists.

        `options` are those of ServerCoreOptions, by name.
        """
        self._options = ServerCoreOptions(**options)
        self._own_timer = TimerThread("servable-timer")
        self._timer = self._options.timer or self._own_timer
        self._bus: EventBus[ServableState] = EventBus(self._options.clock)
        self.monitor = ServableStateMonitor(self._bus)
        self._labels = VersionLabels(
            self._is_available,
            strict=not self._options.allow_version_labels_for_unavailable_models,
        )
        self._roles = VersionRoles(
            self._labels,
            lambda name: self._manager.available_versions(name),
            self._options.guard,
        )
        self._manager = AspiredVersionsManager(
            self._options.manager_options(self._bus, self._timer),
            self._options.policy,
            reload_servables_with_error=self._options.broken_version_interval_seconds > 0,
            roles=self._roles.of,
        )
        self._resolver = RequestResolver(
            *(self._manager, self._roles, self._labels),
            allow_version_labels=self._options.allow_version_labels,
        )
        if self._options.guard is not None:
            self._options.guard.on_change(self._manager.reconsider)
        self._kinds = ServedKinds(self)
        self._router = KindRouter(self._manager)
        self._source = FileSystemStoragePathSource(self._source_config(()))
        self._config_lock = threading.RLock()
        self._configs: dict[str, ServableConfig] = {}
        self._given = tuple(configs)
        self._file: ModelConfigFile | None = None
        self._is_closed = False
        listed: Sequence[ServableConfig] = ()
        if model_config_file is not None:
            self._file = ModelConfigFile(model_config_file, known_kinds, self._take_over_file)
            listed = self._file.read()
        self._apply([*self._given, *listed])

    def check_base_paths(self) -> None:
        """Raise InvalidArgumentError naming a base path that is missing, and the remedy."""
        check_base_paths(self._configs.values())

    def start(self) -> None:
        """Begin to look for versions and to load them. Returns at once."""
        self._bus.subscribe(self._move_labels)
        if self._options.broken_version_interval_seconds > 0:
            backoff = Backoff(
                self._options.broken_version_interval_seconds,
                _MAX_BROKEN_VERSION_INTERVAL_SECONDS,
            )
            retries = BrokenVersionRetries(self._timer, backoff, self._source.republish)
            self._bus.subscribe(retries.take)
        self._manager.start()
        connect_source_to_target(self._source, self._router)
        self._source.start()
        self._poll_file_later()

    def wait_until_available(self, timeout_seconds: float) -> bool:
        """Block until every servable has an available version.

        False when the time is up before, or when one has ended without.
        """
        requests = [ServableRequest.latest(name) for name in self.servable_names()]
        is_reached, _ = self.monitor.wait_until_servables_reach_state(
            requests, ManagerState.AVAILABLE, timeout_seconds
        )
        return is_reached

    def cancel_calls(self) -> None:
        """Cancel the calls of remote models that are in progress: `close` would wait for them.

        Nothing can be predicted after it.
        """
        self._manager.cancel_calls()

    def close(self, timeout_seconds: float) -> bool:
        """Stop, unload everything, and return whether all of it was unloaded in time.

        What still has open handles stays loaded.
        """
        self._is_closed = True
        deadline = time.monotonic() + timeout_seconds
        # Upstream first: nothing new is aspired while the manager takes everything out.
        self._source.close(timeout_seconds)
        self._router.detach()
        is_unloaded = self._manager.close(max(0.0, deadline - time.monotonic()))
        self._own_timer.close()
        self.monitor.close()
        return is_unloaded

    def get_servable_handle(self, request: ServableRequest) -> ServableHandle[Servable]:
        """Return a handle on what is asked for, at once; the caller closes it.

        Raises NotFoundError where it is not available now, InvalidArgumentError for a label that
        is not known.
        """
        return ServableHandle(self._resolver.pin(request), sys._getframe(1))  # noqa: SLF001

    def get_servable_handles(
        self, requests: Sequence[ServableRequest]
    ) -> list[ServableHandle[Servable]]:
        """Return handles on versions that were all available at one moment, as the above does.

        It is what pipelines call: the latest of a servable is never one that the guard rejected.
        """
        taken_in = sys._getframe(1)  # noqa: SLF001
        return [ServableHandle(pinned, taken_in) for pinned in self._resolver.pin_all(requests)]

    def list_available_servable_ids(self) -> list[ServableId]:
        """Return what is available now, in order."""
        return self._manager.list_available_servable_ids()

    def servable_names(self) -> list[str]:
        """Return the names of what is configured, available or not."""
        return list(self._configs)

    def configs(self) -> list[ServableConfig]:
        """Return the configuration in force."""
        return list(self._configs.values())

    def labels(self, name: str) -> Mapping[str, int]:
        """Return what a servable's labels stand for now."""
        return self._labels.of(name)

    def default_version(self, name: str) -> int | None:
        """Return the version that answers by default now; None while that is not available."""
        available = self._manager.available_versions(name)
        if not available:
            return None
        try:
            version = self._roles.default(name).version
        except NotFoundError:
            return None
        return version if version in available else None

    def model_status(self, name: str) -> dict[str, Any]:
        """Return TF Serving's GetModelStatusResponse as JSON: all versions, the highest first.

        NotFoundError where there is none, with what is wrong with the base path.
        """
        versions = self._states(name)
        if not versions:
            problem = self.source_problem(name)
            because = f": {problem}" if problem else ""
            raise NotFoundError(f"Could not find any versions of model {name}{because}")
        return model_status(versions.values(), self._roles.reasons(name))

    def replaced_versions(self, name: str) -> list[int]:
        """Return the versions that are no longer aspired and still serve, for want of another."""
        return self._manager.ready_but_not_aspired(name)

    def problem(self, name: str) -> str:
        """Return what keeps a servable from having a version; empty where nothing is known."""
        return problem_of(self._states(name)) or self.source_problem(name)

    def source_problem(self, name: str) -> str:
        """Return what was missing at the last look at the base path; empty where nothing was.

        What is loaded serves on meanwhile.
        """
        return self._source.problem(name)

    def model_metadata(
        self, name: str, version: int | None = None, label: str | None = None
    ) -> dict[str, Any]:
        """Return TF Serving's GetModelMetadataResponse as JSON, of the latest where none is named.

        Raises what `get_servable_handle` does.
        """
        request = ServableRequest.latest(name)
        if version is not None:
            request = ServableRequest.specific(name, version)
        elif label is not None:
            request = ServableRequest.labelled(name, label)
        with self.get_servable_handle(request) as handle:
            return model_metadata(handle.id, handle.servable)

    def subscribe(self, subscriber: Callable[[EventAndTime[ServableState]], None]) -> Subscription:
        """Call `subscriber` with every state that a version comes into, from now on."""
        return self._bus.subscribe(subscriber)

    def reload(self, configs: Sequence[ServableConfig]) -> None:
        """Serve these from now on, beside what the model config file lists. Loads nothing itself.

        All of it is checked first: InvalidArgumentError or FailedPreconditionError, and nothing
        has changed. A servable that is named no more is unloaded; one that stays sees no gap. A new
        base path or new options count for versions that are loaded from now on.
        """
        with self._config_lock:
            given = tuple(configs)
            from_file = [
                one
                for one in self._configs.values()
                if one.name not in {before.name for before in self._given}
            ]
            self._apply([*given, *from_file])
            self._given = given

    def _states(self, name: str) -> dict[int, ServableState]:
        if name not in self._configs:
            return {}
        return with_load_errors(self.monitor.versions(name), self._manager.snapshots(name))

    def _take_over_file(self, listed: list[ServableConfig]) -> None:
        with self._config_lock:
            self._apply([*self._given, *listed])

    def _apply(self, configs: Sequence[ServableConfig]) -> None:
        """Check everything, and only then change anything."""
        with self._config_lock:
            check_configs(
                configs,
                self._configs,
                allow_version_labels=self._options.allow_version_labels,
            )
            labels = {config.name: config.version_labels for config in configs}
            self._labels.check(labels)
            routes = self._kinds.routes(configs)
            self._kinds.keep(configs, routes)
            before, self._configs = self._configs, {config.name: config for config in configs}
            self._labels.set(labels)
            self._roles.set(self._configs)
            self._router.set_routes(routes)
            self._source.update_config(self._source_config(configs))
            self._manager.reconsider()
        removed = [name for name in before if name not in self._configs]
        if removed:
            self._options.on_removed(removed)

    def _source_config(
        self, configs: Sequence[ServableConfig]
    ) -> FileSystemStoragePathSourceConfig:
        return FileSystemStoragePathSourceConfig(
            tuple(
                ServableToMonitor(
                    config.name,
                    config.base_path
                    if is_url(config.base_path)
                    else os.path.abspath(config.base_path),
                    config.version_policy,
                    self._roles.to_load(config.name),
                    self._roles.canary_and_shadow_versions(config.name),
                )
                for config in configs
            ),
            self._options.file_system_poll_wait_seconds,
            self._options.servable_versions_always_present,
            completeness=self._options.completeness,
        )

    def _is_available(self, servable_id: ServableId) -> bool:
        state = self.monitor.state(servable_id)
        return state is not None and state.manager_state is ManagerState.AVAILABLE

    def _move_labels(self, event: EventAndTime[ServableState]) -> None:
        """Let labels move to a version that has become available, and free their old one."""
        state = event.event
        if state.manager_state is not ManagerState.AVAILABLE:
            return
        if self._labels.became_available(state.id):
            with self._config_lock:
                self._source.update_config(self._source_config(self.configs()))
            self._manager.reconsider()

    def _poll_file_later(self) -> None:
        if self._file is not None and self._options.file_system_poll_wait_seconds > 0:
            self._timer.call_later(self._options.file_system_poll_wait_seconds, self._poll_file)

    def _poll_file(self) -> None:
        if self._file is not None and not self._is_closed:
            self._file.poll()
            self._poll_file_later()
