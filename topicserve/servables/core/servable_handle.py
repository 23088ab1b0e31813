"""What a caller holds while it uses a servable (TF Serving: core/servable_handle.h)."""

import logging
import threading
from collections.abc import Callable
from dis import findlinestarts
from types import CodeType, FrameType, TracebackType
from typing import Any, Generic, TypeVar

from topicserve.servables.core.servable_id import ServableId

S_co = TypeVar("S_co", covariant=True)

_logger = logging.getLogger(__name__)


class PinnedServable:
    """A loaded version with the number of handles that are open on it. Any thread may call it.

    Taking and giving back a handle costs no lock: a list serves as the count, since its append
    and pop are atomic. `pin` adds first and looks at `is_retired` second; `retire` sets it first
    and looks at the count second. So either the caller sees that the version has been retired, or
    the retiring thread sees the caller's pin, and no one is ever unloaded under a handle.
    """

    __slots__ = ("_is_drained", "_lock", "_on_drained", "id", "is_retired", "pins", "servable")

    def __init__(self, servable_id: ServableId, servable: Any) -> None:
        self.id = servable_id
        self.servable = servable
        self.is_retired = False
        self.pins: list[None] = []
        # Reentrant, since a dropped handle may be found by a garbage collection at any point.
        self._lock = threading.RLock()
        self._is_drained = False
        self._on_drained: Callable[[], None] = lambda: None

    @property
    def open_handles(self) -> int:
        """Return how many handles are open now."""
        return len(self.pins)

    def pin(self) -> bool:
        """Keep the version loaded until `unpin`; False when it has been retired: take another."""
        self.pins.append(None)
        if self.is_retired:
            self.unpin()
            return False
        return True

    def unpin(self) -> None:
        """Take back one `pin`; the last one of a retired version says that it is drained."""
        self.pins.pop()
        if self.is_retired:
            self.check_drained()

    def retire(self, on_drained: Callable[[], None]) -> None:
        """Let no one pin it any more; `on_drained` is called once, when no one does.

        That may be at once, or on the thread that closes the last handle: it must be quick.
        """
        self._on_drained = on_drained
        self.is_retired = True
        self.check_drained()

    def check_drained(self) -> None:
        """Say that a retired version is drained, if it is and that was not said before."""
        with self._lock:
            if self.pins or self._is_drained:
                return
            self._is_drained = True
        # The servable may hold much memory: no late handle object keeps it from here on.
        self.servable = None
        self._on_drained()


class ServableHandle(Generic[S_co]):
    """Keeps one version loaded while it is open. Meant for one batch or request.

    A context manager, used by one thread at a time; `close` does not block, may be called any
    number of times, and after it there is no `servable` any more. Two open handles are equal when
    they are on the same version of the same life. One that is dropped open is closed, and reported
    with the place where it was taken.
    """

    __slots__ = ("_caller", "_caller_at", "_pinned", "_taker", "_taker_at", "id", "servable")

    id: ServableId
    servable: S_co

    def __init__(self, pinned: PinnedServable, taken_in: FrameType) -> None:
        self._pinned: PinnedServable | None = pinned  # first: `__del__` looks at it
        # Code and instruction, not the frame, which would keep all its variables alive; and no
        # line number yet, which takes long to find out.
        self._taker = taken_in.f_code
        self._taker_at = taken_in.f_lasti
        caller = taken_in.f_back or taken_in
        self._caller = caller.f_code
        self._caller_at = caller.f_lasti
        self.id = pinned.id
        self.servable = pinned.servable

    def close(self) -> None:
        """Stop using the servable."""
        self.__exit__(None, None, None)

    @property
    def taken_at(self) -> str:
        """Return where it was taken, and from where that was called."""
        taker = _place(self._taker, self._taker_at)
        return f"{taker}, called from {_place(self._caller, self._caller_at)}"

    def __enter__(self) -> "ServableHandle[S_co]":
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        pinned = self._pinned
        if pinned is not None:
            self._pinned = None
            # A closed handle often lives on in a variable; the model must not.
            del self.servable
            # `unpin`, written out: this is on the way of every batch.
            pinned.pins.pop()
            if pinned.is_retired:
                pinned.check_drained()

    def __del__(self) -> None:
        if self._pinned is not None:
            _logger.warning(
                "a handle on %s was dropped without close(); taken at %s", self.id, self.taken_at
            )
            self.close()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, ServableHandle):
            return NotImplemented
        return self.id == other.id and self._pinned is other._pinned

    def __hash__(self) -> int:
        return hash(self.id)

    def __repr__(self) -> str:
        return f"ServableHandle({self.id}, {'closed' if self._pinned is None else 'open'})"


def _place(code: CodeType, instruction: int) -> str:
    line = code.co_firstlineno
    for start, number in findlinestarts(code):
        if start > instruction:
            break
        line = number or line
    return f"{code.co_filename}:{line} in {code.co_name}"
