"""Inputs that a server fails on while it answers others: found in groups, then given up."""

import math
from collections import OrderedDict
from collections.abc import Callable, Iterable, Sequence

from topicserve.backoff import Backoff
from topicserve.servables.core.errors import InvalidArgumentError, ServableError, UnavailableError
from topicserve.servables.kinds.remote.call_errors import CallError, kind_of
from topicserve.servables.kinds.remote.divided_inputs import DividedInputs, Units

_MAX_KNOWN = 1000
# Each failure may take all the time of a call, or the server's life; what is answered takes little.
_GROUPS = 8
_PAUSES = Backoff(1.0, 10.0)


class _FailingUnit:
    """A unit on which the server failed, alone."""

    def __init__(self) -> None:
        self.tries = self.max_tries = 0
        self.error: ServableError | None = None
        self.not_before = 0.0
        self.is_given_up = False


class FailingUnits:
    """Knows units by their digests. The caller holds a lock.

    A group has units that failed in one call, and are sent apart from others since. A failing group
    becomes several, until a unit is alone; that is tried again after growing pauses, and given up.
    All of it is forgotten `forget_seconds` after the last failure.
    """

    def __init__(self, clock: Callable[[], float], forget_seconds: float) -> None:
        self._clock = clock
        self._forget_seconds = forget_seconds
        self._forget_at = 0.0
        self._groups: list[frozenset[bytes]] = []
        self._known: OrderedDict[bytes, _FailingUnit] = OrderedDict()

    def __bool__(self) -> bool:
        """Return whether there are any, those included that were given up."""
        return bool(self._groups or self._known)

    @property
    def are_tried(self) -> bool:
        """Return whether any were not given up yet."""
        return bool(self._groups) or not all(one.is_given_up for one in self._known.values())

    def has_no_room(self, digest: bytes) -> bool:
        """Return whether the server had no room for a unit, the last time that it failed."""
        one = self._known.get(digest)
        return one is not None and one.error is not None and kind_of(one.error) is CallError.NO_ROOM

    def check(self, parts: DividedInputs) -> None:
        """Raise what a unit was given up for, or UnavailableError while one has to pause."""
        now = self._clock()
        if now >= self._forget_at:
            self._groups, self._known = [], OrderedDict()
        if not self._known:
            return
        found = [self._known[digest] for digest in parts.digests if digest in self._known]
        for one in found:
            if one.is_given_up:
                raise _given_up(one)
        for one in found:
            if one.not_before > now and one.error is not None:
                raise UnavailableError(str(one.error)) from one.error

    def others(self, parts: DividedInputs) -> Units:
        """Return the units that did not fail alone, where some are sent apart from others."""
        if parts.count == 1:
            return []
        if not self._known:
            return range(parts.count)
        return [unit for unit, digest in enumerate(parts.digests) if digest not in self._known]

    def divide(self, parts: DividedInputs) -> list[Units]:
        """Return the units that are to be sent together: groups first, then all others."""
        if not self._groups:
            return [range(parts.count)]
        rest, divided = list(range(parts.count)), list[Units]()
        for group in self._groups:
            units = [unit for unit in rest if parts.digests[unit] in group]
            if units:
                divided.append(units)
                rest = [unit for unit in rest if parts.digests[unit] not in group]
        return [*divided, rest] if rest else divided

    def split(self, digests: Sequence[bytes]) -> None:
        """Note units on which the server failed: they become several groups."""
        different = list(dict.fromkeys(digests))
        size = math.ceil(len(different) / _GROUPS)
        groups = [different[i : i + size] for i in range(0, len(different), size)]
        self._forget_at = self._clock() + self._forget_seconds
        self._leave(different)
        self._groups[:0] = map(frozenset, groups)
        del self._groups[_MAX_KNOWN:]

    def fail(
        self,
        digest: bytes,
        error: ServableError,
        max_tries: int,
        pauses: Backoff = _PAUSES,
        *,
        may_give_up: bool,
    ) -> InvalidArgumentError | None:
        """Note that the server failed on a unit alone; return its error if it is given up now."""
        one = self._known.setdefault(digest, _FailingUnit())
        self._known.move_to_end(digest)
        if one.max_tries != max_tries:  # tries of another fault say nothing of this one
            one.tries, one.max_tries = 0, max_tries
        one.tries += 1
        one.error = error
        # One that waits for an answer to another one alone starts over.
        pause = pauses.pause_seconds((one.tries - 1) % max_tries + 1)
        now = self._clock()
        one.not_before, self._forget_at = now + pause, now + self._forget_seconds
        if len(self._known) > _MAX_KNOWN:
            self._known.popitem(last=False)
        if one.tries >= max_tries and may_give_up:
            self._leave([digest])
            one.is_given_up = True
            return _given_up(one)
        return None

    def clear(self, digests: Iterable[bytes]) -> None:
        """Note units that the server answered."""
        self._leave(digests)
        for digest in digests:
            self._known.pop(digest, None)

    def _leave(self, digests: Iterable[bytes]) -> None:
        gone = frozenset(digests)
        self._groups = [left for group in self._groups if (left := group - gone)]


def _given_up(one: _FailingUnit) -> InvalidArgumentError:
    return InvalidArgumentError(
        f"failed {one.tries} times, while the server answered other calls: {one.error}"
    )
