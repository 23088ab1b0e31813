"""What is kept of a batch, and how long calls pause, while a server has no room for all rows."""

from collections import defaultdict
from collections.abc import Callable, Hashable, Sequence

from topicserve.backoff import Backoff
from topicserve.servables.core.errors import ServableError, UnavailableError
from topicserve.servables.kinds.remote.divided_inputs import DividedInputs, Units
from topicserve.servables.kinds.servable import Columns

_BACKOFF = Backoff(0.1, 5.0)
# The batch comes back sooner; what does not was taken by another worker.
_KEEP_SECONDS = 60.0
MAX_KEPT_BYTES = 64 * 1024 * 1024


class RoomPause:
    """Grows while a server has no room for any row. The caller holds a lock."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._failures = 0
        self._not_before = 0.0
        self._error: ServableError | None = None

    def __bool__(self) -> bool:
        """Return whether the server had no room the last time."""
        return self._error is not None

    def check(self) -> None:
        """Raise UnavailableError while calls pause."""
        if self._error is not None and self._clock() < self._not_before:
            raise UnavailableError(str(self._error)) from self._error

    def extend(self, error: ServableError) -> None:
        """Note that the server had no room for any of several rows."""
        self._failures += 1
        self._error = error
        self._not_before = self._clock() + _BACKOFF.pause_seconds(self._failures)

    def end(self) -> None:
        """Note that the server answered."""
        self._failures, self._error = 0, None


class KeptAnswers:
    """Answers to a part of a batch that waits for the others. The caller holds a lock.

    Each is used once: for the same inputs, asked for in the same way.
    """

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._rows: defaultdict[bytes, list[Columns]] = defaultdict(list)
        self._asked: Hashable = None
        self._until = 0.0
        self._size_bytes = 0

    def keep(
        self, parts: DividedInputs, answers: Sequence[tuple[Units, Columns]], asked: Hashable
    ) -> None:
        """Keep answers for the next call that has these units."""
        self._drop_others(asked)
        self._until = self._clock() + _KEEP_SECONDS
        for units, columns in answers:
            for unit, answer in parts.each_answer(units, columns):
                self._size_bytes += _size_of(answer)
                if self._size_bytes > MAX_KEPT_BYTES:
                    self._drop()
                    return
                self._rows[parts.digests[unit]].append(answer)

    def take(self, parts: DividedInputs, asked: Hashable) -> list[tuple[Units, Columns]]:
        """Return what is known of a call's units; it is kept no longer."""
        if not self._rows:
            return []
        self._drop_others(asked)
        found = list[tuple[Units, Columns]]()
        for unit, digest in enumerate(parts.digests):
            if self._rows.get(digest):
                answer = self._rows[digest].pop()
                self._size_bytes -= _size_of(answer)
                found.append(([unit], answer))
        return found

    def _drop_others(self, asked: Hashable) -> None:
        if asked != self._asked or self._clock() >= self._until:
            self._drop()
            self._asked = asked

    def _drop(self) -> None:
        self._rows.clear()
        self._size_bytes = 0


def _size_of(answer: Columns) -> int:
    strings = (column for column in answer.values() if column.dtype.hasobject)
    contents = sum(
        len(one) for column in strings for one in column.ravel() if hasattr(one, "__len__")
    )
    return contents + sum(column.nbytes for column in answer.values())
