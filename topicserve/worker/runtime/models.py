"""The worker's ServerCore, as [models] and the [[servables]] configure it."""

from collections.abc import Mapping
from typing import Any

from topicserve.servables.core.policies.aspired_version_policy import AspiredVersionPolicy
from topicserve.servables.core.policies.availability_preserving_policy import (
    availability_preserving_policy,
)
from topicserve.servables.core.policies.resource_preserving_policy import resource_preserving_policy
from topicserve.servables.server.server_core import ServerCore
from topicserve.servables.server.swap_guard import SwapGuard
from topicserve.servables.sources.completeness import CompletenessOptions
from topicserve.worker.config.models import AspiredVersionPolicyName, ModelsConfig
from topicserve.worker.config.schema import WorkerConfig
from topicserve.worker.telemetry.event_log import log_removed

_POLICIES: Mapping[AspiredVersionPolicyName, AspiredVersionPolicy] = {
    AspiredVersionPolicyName.AVAILABILITY_PRESERVING: availability_preserving_policy,
    AspiredVersionPolicyName.RESOURCE_PRESERVING: resource_preserving_policy,
}


def open_core(config: WorkerConfig, guard: SwapGuard | None) -> ServerCore:
    """Return the core, not yet started; ServableError names what it cannot serve."""
    return ServerCore(
        [entry.servable for entry in config.servables],
        model_config_file=config.model_config_file or None,
        guard=guard,
        on_removed=log_removed,
        **core_options(config.models),
    )


def core_options(models: ModelsConfig) -> dict[str, Any]:
    """Return the options of ServerCoreOptions that [models] stands for."""
    return {
        "file_system_poll_wait_seconds": models.file_system_poll_wait_seconds,
        "num_load_threads": models.num_load_threads,
        "num_unload_threads": models.num_unload_threads,
        "max_num_load_retries": models.max_num_load_retries,
        "load_retry_interval_seconds": models.load_retry_interval_seconds,
        "broken_version_interval_seconds": models.broken_version_interval_seconds,
        "policy": _POLICIES[models.aspired_version_policy],
        "total_model_memory_limit_bytes": models.total_model_memory_limit_bytes,
        "on_insufficient_resources": models.on_insufficient_resources,
        "servable_versions_always_present": models.servable_versions_always_present,
        "completeness": CompletenessOptions(
            models.ready_marker,
            models.stable_scans,
            models.scan_interval_seconds,
            models.quiet_seconds,
        ),
    }
