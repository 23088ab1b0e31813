"""How a ServerCore loads, looks for versions and treats labels."""

import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from topicserve.servables.core.concurrency.event_bus import EventBus
from topicserve.servables.core.concurrency.retry import RetryPolicy
from topicserve.servables.core.concurrency.timer import Timer
from topicserve.servables.core.managers.basic_manager import BasicManagerOptions
from topicserve.servables.core.managers.loading import PreLoadHook
from topicserve.servables.core.policies.aspired_version_policy import AspiredVersionPolicy
from topicserve.servables.core.policies.availability_preserving_policy import (
    availability_preserving_policy,
)
from topicserve.servables.core.resources.admission import OnInsufficientResources
from topicserve.servables.core.resources.resource_allocation import MAIN, main_ram
from topicserve.servables.core.resources.resource_tracker import ResourceTracker
from topicserve.servables.core.resources.resource_util import ResourceUtil
from topicserve.servables.core.servable_state import ServableState
from topicserve.servables.server.swap_guard import SwapGuard
from topicserve.servables.sources.completeness import CompletenessOptions

_logger = logging.getLogger(__name__)


def log_removed(names: Sequence[str]) -> None:
    """Log which servables are not configured any more."""
    _logger.warning("servables no longer configured, to be unloaded: %s", ", ".join(names))


@dataclass(frozen=True, kw_only=True)
class ServerCoreOptions:
    """Every option has a default that is safe to serve with."""

    file_system_poll_wait_seconds: float = 1.0
    """How often base paths and the model config file are looked at. Below 0: never by itself."""
    num_load_threads: int = 2
    """Versions loaded at the same time; one servable never has all threads of two or more."""
    num_unload_threads: int = 2
    """Versions unloaded at the same time; waiting for handles takes no thread."""
    max_num_load_retries: int = 5
    """Tries of a load after the first one; each is of the same loader."""
    load_retry_interval_seconds: float = 1.0
    """The first pause between tries; each next one is twice as long, up to a minute."""
    broken_version_interval_seconds: float = 60.0
    """When all tries have failed, a version starts again after this; later and later, up to 15
    minutes. Not positive: never."""
    total_model_memory_limit_bytes: int | None = None
    """Refuse loads beyond it, by the kinds' estimates; None: no limit."""
    on_insufficient_resources: OnInsufficientResources = OnInsufficientResources.FAIL
    """Whether a load beyond the limit fails, or waits until another version is unloaded."""
    policy: AspiredVersionPolicy = availability_preserving_policy
    """Which version is loaded or unloaded next: with both in memory for a while, or with a gap."""
    completeness: CompletenessOptions = field(default_factory=CompletenessOptions)
    """When a version's directory is taken to be written to its end."""
    servable_versions_always_present: bool = True
    """Keep the last version loaded when nothing is found any more under its base path."""
    allow_version_labels: bool = True
    """Take labels at all; otherwise a configuration or a request with one is refused."""
    allow_version_labels_for_unavailable_models: bool = True
    """Let a label wait for its version; otherwise the version must be available first."""
    guard: SwapGuard | None = None
    """Goes back to the version before when a new default fails; it must be told of records."""
    on_removed: Callable[[Sequence[str]], None] = log_removed
    """Told of the servables that a new configuration leaves out, by name."""
    pre_load_hook: PreLoadHook | None = None
    """Called with a version's id right before it is loaded, on the thread that loads it."""
    clock: Callable[[], float] = time.monotonic
    """Monotonic seconds, for durations and events."""
    timer: Timer | None = None
    """For retries and polling the model config file; None: a thread of the core's own."""

    def manager_options(self, bus: EventBus[ServableState], timer: Timer) -> BasicManagerOptions:
        """Return what the manager underneath is told."""
        return BasicManagerOptions(
            num_load_threads=self.num_load_threads,
            num_unload_threads=self.num_unload_threads,
            retry=RetryPolicy(self.max_num_load_retries, self.load_retry_interval_seconds),
            event_bus=bus,
            resource_tracker=self._tracker(),
            on_insufficient_resources=self.on_insufficient_resources,
            pre_load_hook=self.pre_load_hook,
            clock=self.clock,
            timer=timer,
        )

    def _tracker(self) -> ResourceTracker | None:
        if self.total_model_memory_limit_bytes is None:
            return None
        util = ResourceUtil({MAIN: 1})
        return ResourceTracker(main_ram(self.total_model_memory_limit_bytes), util)
