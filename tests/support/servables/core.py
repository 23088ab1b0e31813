"""A ServerCore on real directories of tables, and kinds that a test makes up."""

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tests.support.servables.lifecycle import LIMIT_SECONDS
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest
from topicserve.servables.core.servable_state import ManagerState, ServableState
from topicserve.servables.server.servable_config import ServableConfig
from topicserve.servables.server.server_core import ServerCore
from topicserve.servables.sources.completeness import CompletenessOptions

AS_SEEN = CompletenessOptions(stable_scans=1)


def put_version(base_path: Path, version: int, content: str | None = None) -> None:
    """Write a version of a hashmap: key "version" has the version, unless `content` is given."""
    making = base_path / f"{version}.making"
    making.mkdir(parents=True)
    (making / "hashmap.csv").write_text(content or f"version,{version}\n")
    making.rename(base_path / str(version))


def a_config(name: str, base_path: Path, **changes: Any) -> ServableConfig:
    """Return the configuration of a hashmap."""
    return ServableConfig(name, str(base_path), **{"kind": "hashmap", **changes})


class HeardCore:
    """A ServerCore, and what was heard of it."""

    def __init__(self, core: ServerCore) -> None:
        self.core = core
        self._changed = threading.Condition()
        self.states: list[ServableState] = []
        self.core.subscribe(lambda event: self._hear(event.event))

    def start(self) -> None:
        self.core.start()

    def close(self) -> None:
        assert self.core.close(LIMIT_SECONDS)

    def wait_for(self, name: str, version: int, state: ManagerState) -> ServableState:
        """Wait until a version comes into a state, counted from the last wait for it."""
        servable_id = ServableId(name, version)
        return self.wait_until(
            lambda: next(
                (
                    one
                    for one in reversed(self.states)
                    if one.id == servable_id and one.manager_state is state
                ),
                None,
            )
        )

    def wait_until(self, find: Callable[[], ServableState | None]) -> ServableState:
        with self._changed:
            assert self._changed.wait_for(find, LIMIT_SECONDS), self.states
            found = find()
            assert found is not None
            return found

    def found(self, request: ServableRequest) -> int:
        """Return the version that a lookup finds."""
        with self.core.get_servable_handle(request) as handle:
            return handle.id.version

    def _hear(self, state: ServableState) -> None:
        with self._changed:
            self.states.append(state)
            self._changed.notify_all()


class Core(HeardCore):
    """A core of a test's own, which looks at its base paths all the time."""

    def __init__(self, configs: Sequence[ServableConfig], **options: Any) -> None:
        given = {"file_system_poll_wait_seconds": 0.01, "completeness": AS_SEEN, **options}
        super().__init__(ServerCore(configs, **given))


def status_of(core: ServerCore, name: str) -> Mapping[str, str]:
    """Return the states of a model's versions, as its status says them."""
    versions = core.model_status(name)["model_version_status"]
    return {one["version"]: one["state"] for one in versions}
