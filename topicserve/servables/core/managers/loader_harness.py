"""The state machine around one loader (TF Serving: core/loader_harness.h)."""

import logging
import threading
from dataclasses import dataclass, field
from enum import Enum
from itertools import count
from typing import NoReturn, TypeVar

from topicserve.servables.core.errors import (
    CancelledError,
    FailedPreconditionError,
    InternalError,
    ServableError,
    as_servable_error,
    error_text,
)
from topicserve.servables.core.loader import Loader
from topicserve.servables.core.managers.servable_data import ServableData
from topicserve.servables.core.resources.resource_allocation import ResourceAllocation
from topicserve.servables.core.servable_handle import PinnedServable
from topicserve.servables.core.servable_id import ServableId

T = TypeVar("T")

_logger = logging.getLogger(__name__)
_generations = count(1)


class HarnessState(Enum):
    """Where a loader is in its one life, in TF Serving's names."""

    NEW = "new"
    LOAD_REQUESTED = "load-requested"
    LOAD_APPROVED = "load-approved"
    LOADING = "loading"
    READY = "ready"
    UNLOAD_REQUESTED = "unload-requested"
    QUIESCING = "quiescing"
    QUIESCED = "quiesced"
    UNLOADING = "unloading"
    DISABLED = "disabled"
    ERROR = "error"


_S = HarnessState

# ERROR can come after every state but the two last. A load that succeeds when it is no longer
# wanted goes from LOADING through UNLOADING to DISABLED.
_NEXT: dict[HarnessState, frozenset[HarnessState]] = {
    _S.NEW: frozenset({_S.LOAD_REQUESTED, _S.ERROR}),
    _S.LOAD_REQUESTED: frozenset({_S.LOAD_APPROVED, _S.ERROR}),
    _S.LOAD_APPROVED: frozenset({_S.LOADING, _S.ERROR}),
    _S.LOADING: frozenset({_S.READY, _S.UNLOADING, _S.ERROR}),
    _S.READY: frozenset({_S.UNLOAD_REQUESTED, _S.ERROR}),
    _S.UNLOAD_REQUESTED: frozenset({_S.QUIESCING, _S.ERROR}),
    _S.QUIESCING: frozenset({_S.QUIESCED, _S.ERROR}),
    _S.QUIESCED: frozenset({_S.UNLOADING, _S.ERROR}),
    _S.UNLOADING: frozenset({_S.DISABLED, _S.ERROR}),
    _S.DISABLED: frozenset(),
    _S.ERROR: frozenset(),
}
USES_RESOURCES = frozenset(
    {
        *(_S.LOAD_APPROVED, _S.LOADING, _S.READY, _S.UNLOAD_REQUESTED),
        *(_S.QUIESCING, _S.QUIESCED, _S.UNLOADING),
    }
)
SERVES = frozenset({_S.READY, _S.UNLOAD_REQUESTED})
"""States in which requests find the version: until it starts quiescing."""


@dataclass(frozen=True, slots=True)
class ServableStateSnapshot:
    """A harness at one moment."""

    id: ServableId
    state: HarnessState
    additional_state: object = None
    """What the manager above keeps with the version."""
    load_error: ServableError | None = field(default=None, compare=False)
    """What the last try to load it ended in, while it is being retried."""

    def additional_state_as(self, kind: type[T]) -> T | None:
        """Return the additional state where it is of that type."""
        return self.additional_state if isinstance(self.additional_state, kind) else None


class LoaderHarness:
    """Owns a loader and moves it through its life. Thread-safe; never locked during a load.

    Every state comes from `_transition`. A step that is out of turn raises: FailedPrecondition
    where a caller may ask too early or twice, InternalError, and the state ERROR, where only a
    fault of the manager's own can bring it about.
    """

    def __init__(self, data: ServableData[Loader], additional_state: object = None) -> None:
        self.id = data.id
        self.additional_state = additional_state
        self.generation = next(_generations)
        self.resources: ResourceAllocation = {}
        """What the loader said last that it takes."""
        self.load_attempts = 0
        self.load_error: ServableError | None = None
        """What the last try ended in; None before the first, and once one has succeeded."""
        self.pinned: PinnedServable | None = None
        """The servable, from a successful load on."""
        self._loader = None if data.error is not None else data.payload
        self._lock = threading.Lock()
        self._state = HarnessState.NEW
        self._error: ServableError | None = None
        self._is_cancelled = False
        if data.error is not None:
            self.fail(data.error)

    @property
    def state(self) -> HarnessState:
        """Return where the loader is."""
        return self._state

    @property
    def error(self) -> ServableError | None:
        """Return why it ended, in ERROR and after a cancelled load."""
        return self._error

    @property
    def is_cancelled(self) -> bool:
        """Return whether its load is no longer wanted."""
        return self._is_cancelled

    def snapshot(self) -> ServableStateSnapshot:
        """Return the harness as it is now."""
        return ServableStateSnapshot(self.id, self._state, self.additional_state, self.load_error)

    def load_requested(self) -> None:
        """Mark it as to be loaded: of several callers the first, the others are refused."""
        with self._lock:
            if self._state is HarnessState.ERROR and self._error is not None:
                raise self._error
            if self._state is not HarnessState.NEW:
                raise FailedPreconditionError(f"Duplicate load request for {self.id}")
            self._transition(HarnessState.NEW, HarnessState.LOAD_REQUESTED)

    def estimate(self) -> None:
        """Ask the loader what it takes. It may take long, and raise whatever the loader does."""
        loader = self._the_loader()
        try:
            self.resources = loader.estimate_resources()
        except Exception as error:
            self.load_error = as_servable_error(error)
            raise

    def load_approved(self) -> None:
        """Mark it as one for which there is room."""
        with self._lock:
            self._transition(HarnessState.LOAD_REQUESTED, HarnessState.LOAD_APPROVED)

    def begin_load(self) -> None:
        """Mark it as being loaded."""
        with self._lock:
            self._transition(HarnessState.LOAD_APPROVED, HarnessState.LOADING)

    def load(self) -> None:
        """Load, once, or raise what the loader did; the state stays LOADING.

        A load that succeeds but is no longer wanted is undone at once: CancelledError, UNLOADING.
        """
        loader = self._the_loader()
        self.load_attempts += 1
        try:
            loader.load_with_id(self.id)
        # A loader may raise anything, SystemExit included: it becomes the version's error.
        except BaseException as error:
            self.load_error = as_servable_error(error)
            if self.load_error is error:
                raise
            raise self.load_error from error
        self.load_error = None
        if self._is_cancelled:
            self._undo_load(loader)
        self.pinned = PinnedServable(self.id, loader.servable)
        self._estimate_again(loader)

    def loaded(self) -> None:
        """Mark it as ready for use."""
        with self._lock:
            self._transition(HarnessState.LOADING, HarnessState.READY)

    def cancel_load(self) -> None:
        """Do not load, or do not try again. What is being loaded is unloaded when it is done."""
        self._is_cancelled = True

    def unload_requested(self) -> None:
        """Mark it as to be unloaded: of several callers the first, the others are refused."""
        with self._lock:
            if self._state is not HarnessState.READY:
                raise FailedPreconditionError(
                    f"Servable not loaded, or unload already requested/ongoing: {self.id}"
                )
            self._transition(HarnessState.READY, HarnessState.UNLOAD_REQUESTED)

    def start_quiescing(self) -> None:
        """Mark it as waiting for its handles."""
        with self._lock:
            self._transition(HarnessState.UNLOAD_REQUESTED, HarnessState.QUIESCING)

    def done_quiescing(self) -> None:
        """Mark it as used by no one."""
        with self._lock:
            self._transition(HarnessState.QUIESCING, HarnessState.QUIESCED)

    def unload(self) -> None:
        """Unload, or raise what the loader did, as an InternalError; the state stays UNLOADING."""
        with self._lock:
            self._transition(HarnessState.QUIESCED, HarnessState.UNLOADING)
        self._unload(self._the_loader())

    def cancel_calls(self) -> None:
        """Have the servable end the calls that are in progress, where it can."""
        loader = self._loader
        cancel = getattr(None if loader is None else loader.servable, "cancel_calls", None)
        if cancel is None:
            return
        try:
            cancel()
        # A kind of a user's own may raise anything; what follows is the unload, all the same.
        except BaseException as error:
            _logger.warning("calls of %s cannot be cancelled: %s", self.id, error_text(error))

    def unloaded(self) -> None:
        """Mark it as gone. Its memory is free by then."""
        with self._lock:
            self._transition(HarnessState.UNLOADING, HarnessState.DISABLED)

    def fail(self, error: ServableError) -> None:
        """End it with an error."""
        with self._lock:
            self._transition(self._state, HarnessState.ERROR)
            self._error = error
            self._loader = None

    def _undo_load(self, loader: Loader) -> NoReturn:
        with self._lock:
            self._transition(HarnessState.LOADING, HarnessState.UNLOADING)
        self._unload(loader)
        self._error = CancelledError(f"Loading {self.id} was cancelled: it is no longer aspired")
        raise self._error

    def _estimate_again(self, loader: Loader) -> None:
        try:
            self.resources = loader.estimate_resources()
        # What is loaded works; the estimate made before is an upper bound and stays.
        except BaseException as error:
            _logger.warning("no estimate of %s after its load: %s", self.id, error_text(error))

    def _unload(self, loader: Loader) -> None:
        try:
            loader.unload()
        except BaseException as error:
            raise InternalError(f"unloading {self.id} failed: {error_text(error)}") from error
        self._loader = None

    def _the_loader(self) -> Loader:
        if self._loader is None:
            raise InternalError(f"{self.id} has no loader in state {self._state.value}")
        return self._loader

    def _transition(self, expected: HarnessState, to: HarnessState) -> None:
        """Change the state. The only place that does; the caller holds the lock."""
        if self._state is not expected or to not in _NEXT[self._state]:
            found, self._state = self._state, HarnessState.ERROR
            self._error = InternalError(
                f"Illegal request to transition {self.id} from {expected.value} to {to.value}: "
                f"it is in {found.value}"
            )
            raise self._error
        self._state = to
