"""[models]: how versions are found, loaded and swapped; the names are TF Serving's."""

from enum import Enum
from typing import Annotated

from msgspec import Meta

from topicserve.servables.core.resources.admission import OnInsufficientResources
from topicserve.worker.config.types import ConfigTable, Count, PositiveSeconds, Seconds


class AspiredVersionPolicyName(Enum):
    """What goes first when a version is replaced."""

    AVAILABILITY_PRESERVING = "availability_preserving"
    RESOURCE_PRESERVING = "resource_preserving"


class ModelsConfig(ConfigTable, frozen=True):
    """[models]: how versions of all servables are found, loaded and swapped."""

    file_system_poll_wait_seconds: PositiveSeconds = 1.0
    """How often base paths and the model config file are looked at."""
    num_load_threads: Annotated[int, Meta(ge=1, le=256)] = 2
    """Versions loaded at the same time."""
    num_unload_threads: Annotated[int, Meta(ge=1, le=256)] = 2
    """Versions unloaded at the same time."""
    max_num_load_retries: Annotated[int, Meta(ge=0, le=1000)] = 5
    """How often a load that failed is tried again."""
    load_retry_interval_seconds: Seconds = 1.0
    """The first pause between tries; each next one is twice as long, up to a minute."""
    broken_version_interval_seconds: Seconds = 60.0
    """A version whose tries have all failed starts again after this, then later; 0 never."""
    aspired_version_policy: AspiredVersionPolicyName = (
        AspiredVersionPolicyName.AVAILABILITY_PRESERVING
    )
    """`resource_preserving` unloads the old version first; until the new one loads, none serves."""
    total_model_memory_limit_bytes: Count | None = None
    """Versions are not loaded beyond this, by the kinds' estimates; without it, no limit."""
    on_insufficient_resources: OnInsufficientResources = OnInsufficientResources.FAIL
    """Whether a load beyond the memory limit fails, or waits until something is unloaded."""
    servable_versions_always_present: bool = True
    """Keep what is loaded when nothing is found any more under its base path."""
    ready_marker: str = ""
    """The file that a version's writer makes last; with it, nothing else says it is complete."""
    stable_scans: Annotated[int, Meta(ge=1, le=1000)] = 2
    """So many looks must find the same files; 1 for writers that rename directories into place."""
    scan_interval_seconds: Seconds = 0.5
    """Looks closer together than this count as one."""
    quiet_seconds: Seconds = 2.0
    """Files that have not changed for so long need no second look."""
