"""What requests find: an immutable map, replaced as a whole (util/fast_read_dynamic_ptr.h).

Lookups take no lock: they read one reference to a map that no one changes. A writer builds the next
map under the manager's lock and replaces the reference.
"""

from collections.abc import Iterable, Sequence

from topicserve.servables.core.errors import InvalidArgumentError, NotFoundError, ServableError
from topicserve.servables.core.servable_handle import PinnedServable
from topicserve.servables.core.servable_id import ServableId
from topicserve.servables.core.servable_request import ServableRequest


class Generation:
    """What is available at one moment, by the requests that find it. Nothing in it changes.

    The latest version is the highest that is available, aspired or not: neither the highest on
    disk nor the one loaded last.
    """

    __slots__ = ("entries", "ids", "versions")

    def __init__(self, available: Iterable[PinnedServable]) -> None:
        in_order = sorted(available, key=lambda entry: entry.id)
        self.ids = tuple(entry.id for entry in in_order)
        self.versions: dict[str, list[int]] = {}
        self.entries: dict[ServableRequest, PinnedServable] = {}
        for entry in in_order:
            self.versions.setdefault(entry.id.name, []).append(entry.id.version)
            self.entries[ServableRequest.from_id(entry.id)] = entry
            self.entries[ServableRequest.latest(entry.id.name)] = entry
            self.entries.setdefault(ServableRequest.earliest(entry.id.name), entry)

    def find(self, request: ServableRequest) -> PinnedServable:
        """Return what is asked for, or raise NotFoundError."""
        entry = self.entries.get(request)
        if entry is None:
            raise _not_found(request)
        return entry


class ServingMap:
    """The present generation.

    Any thread may look up, without a lock, whatever is loading or unloading: a generation never
    changes, and the reference to it is replaced at once. The manager's lock orders those who
    publish.
    """

    def __init__(self) -> None:
        self._generation = Generation(())

    @property
    def ids(self) -> tuple[ServableId, ...]:
        """Return what is available now, in order."""
        return self._generation.ids

    def versions(self, name: str) -> Sequence[int]:
        """Return the versions of a name that are available now, in order."""
        return self._generation.versions.get(name, ())

    def publish(self, available: Iterable[PinnedServable]) -> None:
        """Replace all. One call at a time; before a version is retired, one without it."""
        self._generation = Generation(available)

    def pin(self, request: ServableRequest) -> PinnedServable:
        """Return what is asked for, pinned by one, or raise NotFoundError."""
        while True:
            # `find`, written out: this is on the way of every batch.
            pinned = self._generation.entries.get(request)
            if pinned is None:
                raise _not_found(request)
            # Retired since: then a newer generation was published before, so this cannot go on.
            if pinned.pin():
                return pinned

    def pin_all(self, requests: Sequence[ServableRequest]) -> list[PinnedServable]:
        """Return all that is asked for, from one generation, or raise NotFoundError."""
        while True:
            pinned = _pin_each([self._generation.find(request) for request in requests])
            if pinned is not None:
                return pinned


def _pin_each(found: Sequence[PinnedServable]) -> list[PinnedServable] | None:
    pinned: list[PinnedServable] = []
    for entry in found:
        if not entry.pin():
            for taken in pinned:
                taken.unpin()
            return None
        pinned.append(entry)
    return pinned


def _not_found(request: ServableRequest) -> ServableError:
    if request.label is not None or request.default_version:
        return InvalidArgumentError(
            f"{request}: labels and defaults are known to the server core only, not to a manager"
        )
    return NotFoundError(f"servable not found for request: {request}")
