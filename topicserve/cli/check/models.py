"""Loads and warms up every version that a worker would load, as a worker does, and lets it go.

With the worker's own ServerCore, so that what loads here loads there. The memory that they take is
that of a worker with all of these versions.
"""

import time
from collections.abc import Callable, Mapping
from contextlib import closing
from typing import Any

from msgspec.structs import replace

from topicserve.cli.check.findings import Findings
from topicserve.servables.core.errors import ServableError
from topicserve.servables.core.servable_state import ManagerState, ServableState
from topicserve.servables.server.server_core import ServerCore
from topicserve.worker.config.schema import WorkerConfig
from topicserve.worker.config.served import ServedConfig
from topicserve.worker.runtime.models import open_core

# Until then base paths have been looked at, and versions that were just written are complete.
QUIET_SECONDS = 5.0
_LOOK_SECONDS = 0.1
_LOADING = (ManagerState.START, ManagerState.LOADING)


class Core:
    """A ServerCore that is closed with what it has loaded."""

    def __init__(self, config: WorkerConfig) -> None:
        # A version that fails is told, not tried again.
        once = replace(config.models, max_num_load_retries=0, broken_version_interval_seconds=0.0)
        self.core = open_core(replace(config, models=once), None)

    def close(self) -> None:
        """Unload everything."""
        self.core.close(QUIET_SECONDS)


def check_models(
    config: WorkerConfig,
    findings: Findings,
    timeout_seconds: float,
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], Any] = time.sleep,
) -> None:
    """Load, and note each version; one that still loads after the timeout is a problem.

    A version that fails is told at once and not tried again. A label, a canary or a shadow whose
    version is not among those that were loaded is a problem, too.
    """
    try:
        core = Core(config)
    except ServableError as error:
        findings.problem(_key_of(str(error), config), str(error))
        return
    with closing(core):
        try:
            core.core.check_base_paths()
        except ServableError as error:
            findings.problem(_key_of(str(error), config), str(error))
            return
        core.core.start()
        is_settled = _settle(core.core, clock() + timeout_seconds, clock, sleep)
        served = {one.name: one for one in config.servables}
        for name in sorted(core.core.servable_names()):
            _report(core.core, name, served.get(name), findings, is_settled=is_settled)


def _settle(
    core: ServerCore,
    give_up_at: float,
    clock: Callable[[], float],
    sleep: Callable[[float], Any],
) -> bool:
    """Wait until nothing loads, and every servable has a version or has had the time to."""
    quiet_since = clock()
    while clock() < give_up_at:
        states = [core.monitor.versions(name) for name in core.servable_names()]
        is_loading = any(one.manager_state in _LOADING for s in states for one in s.values())
        if is_loading:
            quiet_since = clock()
        elif all(states) or clock() - quiet_since >= QUIET_SECONDS:
            return True
        sleep(_LOOK_SECONDS)
    return False


def _report(
    core: ServerCore,
    name: str,
    served: ServedConfig | None,
    findings: Findings,
    *,
    is_settled: bool,
) -> None:
    key = f"servables.{name}"
    states = core.monitor.versions(name)
    for version, state in sorted(states.items()):
        _report_version(key, version, state, findings, is_settled=is_settled)
    if core.default_version(name) is None:
        problem = core.problem(name) or "no version was found"
        findings.problem(f"{key}.base_path", f"no version answers by default: {problem}")
    if served is not None:
        _report_roles(key, served, states, findings)


def _report_version(
    key: str, version: int, state: ServableState, findings: Findings, *, is_settled: bool
) -> None:
    if state.manager_state is ManagerState.AVAILABLE:
        seconds = "" if state.seconds is None else f" in {state.seconds:.1f} s"
        findings.ok(key, f"version {version} loads and warms up{seconds}")
    elif state.error is not None:
        findings.problem(key, f"version {version}: {' '.join(str(state.error).split())}")
    elif not is_settled:
        findings.problem(key, f"version {version} is still loading; see --timeout-seconds")


def _report_roles(
    key: str, served: ServedConfig, states: Mapping[int, ServableState], findings: Findings
) -> None:
    """Look whether labels, canary and shadow have a version that is loaded."""
    loaded = {v for v, state in states.items() if state.manager_state is ManagerState.AVAILABLE}
    for label, version in served.version_labels.items():
        if version not in loaded:
            message = f"version {version} is not among those that are loaded"
            findings.problem(f"{key}.version_labels.{label}", message)
    for name, side in (("canary", served.canary), ("shadow", served.shadow)):
        if side is None:
            continue
        chosen = served.version_labels.get(side.label or "") if side.label else side.version
        if chosen not in loaded:
            message = f"version {chosen} is not among those that are loaded"
            findings.problem(f"{key}.{name}", message)


def _key_of(problem: str, config: WorkerConfig) -> str:
    """Return the key of the servable that an error names."""
    for served in config.servables:
        if problem.startswith(f"servable {served.name}:"):
            return f"servables.{served.name}"
    return "model_config_file" if config.model_config_file else "servables"
