"""Brings what is loaded in line with what is aspired (core/aspired_versions_manager.h)."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from topicserve.servables.core.loader import Loader
from topicserve.servables.core.manager import ServingManager
from topicserve.servables.core.managers.basic_manager import BasicManager, BasicManagerOptions
from topicserve.servables.core.managers.loader_harness import HarnessState, ServableStateSnapshot
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.policies.aspired_version_policy import (
    Action,
    AspiredServableStateSnapshot,
    AspiredVersionPolicy,
    Roles,
    ServableAction,
    no_roles,
)
from topicserve.servables.core.policies.availability_preserving_policy import (
    availability_preserving_policy,
)
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.target import TargetBase

_logger = logging.getLogger(__name__)
_NOT_IN_USE = (HarnessState.NEW, HarnessState.DISABLED, HarnessState.ERROR)


@dataclass(frozen=True, slots=True)
class Aspiration:
    """What the manager keeps with each version: whether it is wanted."""

    is_aspired: bool


def unloads_first(action: ServableAction) -> int:
    """Order actions: an unload makes room for a load."""
    return 0 if action.action is Action.UNLOAD else 1


class AspiredVersionsManager(TargetBase[Loader], ServingManager):
    """A manager that is told what should be loaded, and a policy that says in which order.

    Sources call from any thread, and their calls return at once: `_pending_lock` guards what they
    aspired until it is acted on. That is done by `start`'s thread alone, woken by every change; a
    test calls `step_once` or `step_all` instead. Lookups may come from any thread, and only `close`
    blocks. `roles` says what versions of a stream are for, besides being the latest; `reconsider`
    follows a change of that.
    """

    def __init__(
        self,
        options: BasicManagerOptions | None = None,
        policy: AspiredVersionPolicy = availability_preserving_policy,
        *,
        reload_servables_with_error: bool = False,
        action_order: Callable[[ServableAction], int] = unloads_first,
        roles: Callable[[str], Roles] = no_roles,
    ) -> None:
        TargetBase.__init__(self)
        self._wake = threading.Event()
        self._basic = BasicManager(options, self._wake.set)
        ServingManager.__init__(self, self._basic.serving)
        self._policy = policy
        self._reload_servables_with_error = reload_servables_with_error
        self._action_order = action_order
        self._roles = roles
        # One entry a stream: a newer call replaces an older one that was not acted on.
        self._pending: dict[str, Sequence[ServableData[Loader]]] = {}
        self._pending_lock = threading.Lock()
        self._is_stopping = False
        self._thread: threading.Thread | None = None

    def set_aspired_versions(self, name: str, versions: Sequence[ServableData[Loader]]) -> None:
        """Take what is aspired of a stream; acted on later. Never waits for a load."""
        mismatched = [str(one.id) for one in versions if one.id.name != name]
        if mismatched:
            _logger.error(
                "aspired versions of %r are dropped: they name others: %s", name, mismatched
            )
            return
        # Of two with one id either will do, as for two that are said one after the other.
        once = list({one.id: one for one in versions}.values())
        with self._pending_lock:
            self._pending[name] = once
        self._wake.set()

    def reconsider(self) -> None:
        """Ask the policy again: what versions are for has changed. Returns at once."""
        self._wake.set()

    def start(self) -> None:
        """Act on what is aspired, from a thread, until `close`."""
        self._thread = threading.Thread(target=self._run, name="servable-manager", daemon=True)
        self._thread.start()

    def cancel_calls(self) -> None:
        """Cancel calls in progress, as BasicManager.cancel_calls says."""
        self._basic.cancel_calls()

    def close(self, timeout_seconds: float) -> bool:
        """Hear nothing any more, and unload everything, as BasicManager.close says."""
        self.detach()
        self._is_stopping = True
        self._wake.set()
        deadline = time.monotonic() + timeout_seconds
        if self._thread is not None:
            self._thread.join(timeout_seconds)
        return self._basic.close(max(0.0, deadline - time.monotonic()))

    def snapshots(self, name: str) -> list[ServableStateSnapshot]:
        """Return the managed versions of a name as they are now."""
        return self._basic.get_managed_servable_state_snapshots(name)

    def ready_but_not_aspired(self, name: str) -> list[int]:
        """Return the versions of a name that are to go once a successor is ready."""
        ready = (one for one in self.snapshots(name) if one.state is HarnessState.READY)
        return [one.id.version for one in ready if not _is_aspired(one)]

    def set_num_load_threads(self, threads: int) -> None:
        """Load with so many threads from now on."""
        self._basic.set_num_load_threads(threads)

    def step_once(self) -> bool:
        """Take in what is pending, and do at most one action; return whether one was done."""
        self.flush_servables()
        self.handle_pending_aspired_versions_requests()
        return self.invoke_policy_and_execute_action()

    def step_all(self) -> None:
        """Do all there is to do now: every stream gets its actions, not one of them per tick."""
        # Ends: every action moves a version forward in a life of few states.
        while True:
            self.flush_servables()
            self.handle_pending_aspired_versions_requests()
            actions = self._actions()
            if not actions:
                return
            for action in actions:
                self._execute(action)

    def flush_servables(self) -> None:
        """Let go of versions that are not aspired and not in use."""
        for one in self._snapshots():
            if not _is_aspired(one) and one.state in _NOT_IN_USE:
                self._basic.stop_managing(one.id)

    def handle_pending_aspired_versions_requests(self) -> None:
        """Take in what sources have said since the last time."""
        with self._pending_lock:
            names = list(self._pending)
        for name in names:
            with self._pending_lock:
                versions = self._pending.pop(name)
            if not self._handle_pending(name, versions):
                with self._pending_lock:
                    # Said before anything newer, so it gives way to that.
                    self._pending.setdefault(name, versions)

    def invoke_policy_and_execute_action(self) -> bool:
        """Do the first of all streams' actions; return whether there was one."""
        actions = self._actions()
        if actions:
            self._execute(actions[0])
        return bool(actions)

    def _run(self) -> None:
        while not self._is_stopping:
            self._wake.wait()
            self._wake.clear()
            try:
                self.step_all()
            # One step's fault must not end the thread: the next change brings another.
            except Exception:
                _logger.exception("managing aspired versions failed")

    def _handle_pending(self, name: str, versions: Sequence[ServableData[Loader]]) -> bool:
        """Act on one stream's aspired versions; False to come back to it later.

        A version that is on its way out comes back with its new loader once it is gone. Until then
        nothing is given up for it: what was aspired before stays so, beside what is new.
        """
        managed = {one.id: one for one in self._basic.get_managed_servable_state_snapshots(name)}
        leaving = {servable_id for servable_id, one in managed.items() if _is_leaving(one)}
        is_settled = not any(one.id in leaving for one in versions)
        if is_settled:
            aspired = {one.id for one in versions}
            for servable_id, snapshot in managed.items():
                if servable_id not in aspired and _is_aspired(snapshot):
                    self._unaspire(servable_id)
        for version in versions:
            if is_settled or version.id not in managed:
                self._aspire(version, managed.get(version.id))
        return is_settled

    def _aspire(self, version: ServableData[Loader], managed: ServableStateSnapshot | None) -> None:
        """Want a version. A loader that is there already stays, and the new one is dropped."""
        is_broken = managed is not None and managed.state is HarnessState.ERROR
        if is_broken and self._reload_servables_with_error:
            self._basic.stop_managing(version.id)
            managed = None
        if managed is None:
            self._basic.manage(version, Aspiration(True))
        elif not _is_aspired(managed):
            # It was to be unloaded, but still serves: a rollback costs nothing then.
            self._basic.set_additional_state(version.id, Aspiration(True))

    def _unaspire(self, servable_id: ServableId) -> None:
        self._basic.set_additional_state(servable_id, Aspiration(False))
        self._basic.cancel_load(servable_id)

    def _snapshots(self) -> list[ServableStateSnapshot]:
        return [
            one
            for name in self._basic.get_managed_servable_names()
            for one in self._basic.get_managed_servable_state_snapshots(name)
        ]

    def _actions(self) -> list[ServableAction]:
        """Return each stream's next action, in the order in which to do them."""
        actions = []
        for name in self._basic.get_managed_servable_names():
            snapshots = self._basic.get_managed_servable_state_snapshots(name)
            # Asked after the snapshots: what is ready in them has its roles by now.
            roles = self._roles(name)
            action = self._policy([_with_roles(one, roles) for one in snapshots])
            if action is not None:
                actions.append(action)
        return sorted(actions, key=self._action_order)

    def _execute(self, action: ServableAction) -> None:
        if action.action is Action.LOAD:
            self._basic.load(action.id)
        else:
            self._basic.unload(action.id)


def _is_aspired(snapshot: ServableStateSnapshot) -> bool:
    aspiration = snapshot.additional_state_as(Aspiration)
    return aspiration is not None and aspiration.is_aspired


def _with_roles(snapshot: ServableStateSnapshot, roles: Roles) -> AspiredServableStateSnapshot:
    version = snapshot.id.version
    return AspiredServableStateSnapshot(
        snapshot.id,
        snapshot.state,
        _is_aspired(snapshot),
        is_named=version in roles.named,
        is_reserved=version in roles.reserved,
    )


def _is_leaving(snapshot: ServableStateSnapshot) -> bool:
    """Return whether a version's life is about to end, so that another one must wait for that."""
    return not _is_aspired(snapshot) and snapshot.state is not HarnessState.READY
