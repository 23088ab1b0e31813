"""What requests find: an immutable map, replaced as a whole (util/fast_read_dynamic_ptr.h)."""

from collections.abc import Iterable, Mapping, Sequence

from topicserve.servables.errors import InvalidArgumentError, NotFoundError
from topicserve.servables.servable_handle import PinnedServable
from topicserve.servables.servable_id import ServableId
from topicserve.servables.servable_request import ServableRequest

_Key = tuple[str, int | None]


class Generation:
    """What is available at one moment. Nothing in it changes.

    The latest version is the highest that is available, aspired or not: neither the highest on
    disk nor the one loaded last.
    """

    __slots__ = ("_earliest", "_entries", "ids")

    def __init__(self, available: Iterable[PinnedServable]) -> None:
        in_order = sorted(available, key=lambda entry: entry.id)
        self.ids = tuple(entry.id for entry in in_order)
        self._entries: dict[_Key, PinnedServable] = {}
        self._earliest: dict[str, PinnedServable] = {}
        for entry in in_order:
            self._entries[entry.id] = entry
            self._entries[entry.id.name, None] = entry
            self._earliest.setdefault(entry.id.name, entry)

    def find(self, request: ServableRequest) -> PinnedServable:
        """Return what is asked for, or raise NotFoundError."""
        if request.earliest_version:
            entry = self._earliest.get(request.name)
        else:
            entry = self._entries.get((request.name, request.version))
        if entry is None or request.label is not None:
            raise _not_found(request)
        return entry

    def entries(self) -> Mapping[ServableId, PinnedServable]:
        """Return all of it by id."""
        return {servable_id: self._entries[servable_id] for servable_id in self.ids}


class ServingMap:
    """The present generation. Looking up takes no lock, whatever is loading or unloading."""

    def __init__(self) -> None:
        self._generation = Generation(())

    @property
    def generation(self) -> Generation:
        """Return what is available now."""
        return self._generation

    def publish(self, available: Iterable[PinnedServable]) -> None:
        """Replace all. One call at a time; before a version is retired, one without it."""
        self._generation = Generation(available)

    def pin(self, request: ServableRequest) -> PinnedServable:
        """Return what is asked for, pinned by one, or raise NotFoundError."""
        while True:
            pinned = self._generation.find(request)
            # Retired since: then a newer generation was published before, so this cannot go on.
            if pinned.pin():
                return pinned

    def pin_all(self, requests: Sequence[ServableRequest]) -> list[PinnedServable]:
        """Return all that is asked for, from one generation, or raise NotFoundError."""
        while True:
            pinned = _pin_each([self._generation.find(request) for request in requests])
            if pinned is not None:
                return pinned

    def entries(self) -> Mapping[ServableId, PinnedServable]:
        """Return what is available now; nothing of it is pinned."""
        return self._generation.entries()


def _pin_each(found: Sequence[PinnedServable]) -> list[PinnedServable] | None:
    pinned: list[PinnedServable] = []
    for entry in found:
        if not entry.pin():
            for taken in pinned:
                taken.unpin()
            return None
        pinned.append(entry)
    return pinned


def _not_found(request: ServableRequest) -> Exception:
    if request.label is not None:
        return InvalidArgumentError(
            f"{request}: labels are known to the server core only, not to a manager"
        )
    return NotFoundError(f"servable not found for request: {request}")
