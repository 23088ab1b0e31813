"""The states of a version's life as everybody may see them (core/servable_state.h)."""

from dataclasses import dataclass, field
from enum import IntEnum

from topicserve.servables.core.errors import ServableError
from topicserve.servables.core.servable_id import ServableId


class ManagerState(IntEnum):
    """Where a version is in its life. Within one life it only grows."""

    START = 10
    """Accepted; not loading yet."""
    LOADING = 20
    """Being loaded, pauses between tries included."""
    AVAILABLE = 30
    """Requests find it."""
    UNLOADING = 40
    """Requests find it no more; it waits for its handles and is unloaded."""
    END = 50
    """Gone, or never loaded: then the state has an error."""


@dataclass(frozen=True, slots=True)
class ServableState:
    """One version's state, as an event says it.

    Equality looks at what happened, not at how long it took.
    """

    id: ServableId
    manager_state: ManagerState
    error: ServableError | None = None
    generation: int = field(default=0, compare=False)
    """Counts the lives of all versions: a version that comes back has a higher one."""
    attempts: int = field(default=0, compare=False)
    """How often loading was tried, from AVAILABLE on."""
    seconds: float | None = field(default=None, compare=False)
    """AVAILABLE: loading took so long, pauses included. END: the load that failed, or the unload
    with its wait for handles."""
