"""Lanes: requests for one version and signature that wait, and which lane is served next.

However many lanes there are, each step costs a few heap operations: producers choose the names of
versions and labels, so they choose how many lanes there are.
"""

import heapq
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import NamedTuple
from weakref import WeakValueDictionary

from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.request import Request, Route

# While other lanes are ready, a lane that came back gets one take of so many: looking for a version
# that does not exist must not hold up records whose version does.
TAKES_FOR_ONE_RETURN = 4
_SPARE_ENTRIES = 64
NOTHING: Mapping[PartitionAssignment, int] = {}


class LaneKey(NamedTuple):
    """What the requests of a lane have in common."""

    epoch: int
    route: Route


class Returns:
    """How often batches of a lane came back. Lives as long as the lane or a batch of it does."""

    __slots__ = ("__weakref__", "count", "cut")

    def __init__(self) -> None:
        self.count = 0
        self.cut: dict[PartitionAssignment, int] = {}
        """How many batches of a partition were cut by the lane's last one with records of it."""


def _polled_order(request: Request) -> tuple[float, int, int]:
    return request.polled_at, request.record.partition, request.record.offset


def by_route(requests: Sequence[Request], routes: Sequence[Route]) -> Collection[Sequence[Request]]:
    """Return the requests of each route, in their order.

    Servables may take turns from record to record. Nearly all records of a route share one object,
    and to know it by its identity costs no look at its parts.
    """
    by_route: dict[Route, list[Request]] = {}
    by_identity: dict[int, list[Request]] = {}
    for request, route in zip(requests, routes, strict=True):
        run = by_identity.get(id(route))
        if run is None:
            run = by_identity[id(route)] = by_route.setdefault(route, [])
        run.append(request)
    return by_route.values()


@dataclass(slots=True, eq=False)
class Lane:
    """Requests for one version and signature, in the order they were polled."""

    key: LaneKey
    returns: Returns
    requests: deque[Request] = field(default_factory=deque)
    rows: int = 0
    size_bytes: int = 0
    first_at: float = 0.0
    parked_until: float = 0.0
    entry: int = 0
    """The number of its only valid heap entry."""
    is_parked: bool = False
    came_back: bool = False
    """Whether the batch before came back."""
    waits_for: dict[PartitionAssignment, int] = field(default_factory=dict)
    """How many batches with records of a partition must be settled before the next one is cut."""

    def extend(self, requests: Sequence[Request], now: float) -> None:
        """Add requests that were polled after those that wait."""
        if not self.requests:
            self.first_at = now
        self.requests.extend(requests)
        self.rows += sum([request.input.rows for request in requests])
        self.size_bytes += sum([request.size_bytes for request in requests])

    def requeue(self, requests: Sequence[Request]) -> None:
        """Add requests that were taken before; offsets keep their order."""
        waiting = self.requests
        if not waiting or _polled_order(requests[-1]) <= _polled_order(waiting[0]):
            waiting.extendleft(reversed(requests))
        else:
            # Batches of this lane may come back one after the other.
            self.requests = deque(sorted([*requests, *waiting], key=_polled_order))
        self.first_at = self.requests[0].polled_at
        self.rows += sum([request.input.rows for request in requests])
        self.size_bytes += sum([request.size_bytes for request in requests])

    def may_be_cut(self) -> bool:
        """Return whether all batches have come back that were cut before one came back."""
        self.waits_for = {
            assignment: cut
            for assignment, cut in self.waits_for.items()
            if assignment.settled < cut and not assignment.closed
        }
        return not self.waits_for

    def cut(self, max_rows: int, max_bytes: int) -> tuple[list[Request], int]:
        """Take the first requests that fit; one that alone is too large goes alone."""
        taken: list[Request] = []
        rows = size_bytes = 0
        while self.requests:
            request = self.requests[0]
            rows += request.input.rows
            size_bytes += request.size_bytes
            if taken and (rows > max_rows or size_bytes > max_bytes):
                rows -= request.input.rows
                size_bytes -= request.size_bytes
                break
            taken.append(self.requests.popleft())
        self.rows -= rows
        self.size_bytes -= size_bytes
        if self.requests:
            self.first_at = self.requests[0].polled_at
        return taken, rows


_Entry = tuple[float, float, int, Lane]
"""Two numbers to order by, the entry's own number, and its lane."""


class Lanes:
    """All lanes, in the order in which they are served. The caller holds a lock."""

    def __init__(self, ready_at: Callable[[Lane], float]) -> None:
        """`ready_at` tells from when on a lane may be served."""
        self._ready_at = ready_at
        self._lanes: dict[LaneKey, Lane] = {}
        self._returns: WeakValueDictionary[LaneKey, Returns] = WeakValueDictionary()
        self._numbers = count(1)
        # By when they may be served; and those that may be, fresh ones and those that came back,
        # by epoch and by how long they wait.
        self._later: list[_Entry] = []
        self._fresh: list[_Entry] = []
        self._returned: list[_Entry] = []
        self._takes = 0
        self.rows = 0
        """The rows of all lanes that are not parked."""
        self.unparked = 0
        """How many those lanes are."""

    def __len__(self) -> int:
        return len(self._lanes)

    def __iter__(self) -> Iterator[Lane]:
        return iter(list(self._lanes.values()))

    def returns_of(self, key: LaneKey) -> Returns:
        """Return how often batches of a lane came back, to be kept while one of them is out."""
        returns = self._returns.get(key)
        if returns is None:
            returns = self._returns[key] = Returns()
        return returns

    def forget_closed(self) -> None:
        """Forget partitions that are no longer ours."""
        for returns in self._returns.values():
            returns.cut = {one: cut for one, cut in returns.cut.items() if not one.closed}

    def extend(self, key: LaneKey, requests: Sequence[Request], now: float) -> None:
        """Add requests that were polled after those that wait."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._open(key)
        was_ready = lane.entry and self._ready_at(lane) <= now
        rows = lane.rows
        lane.extend(requests, now)
        if not lane.is_parked:
            self.rows += lane.rows - rows
        # One that is ready keeps its place; one that waits may be full now.
        if not was_ready:
            self._schedule(lane)

    def requeue(
        self,
        key: LaneKey,
        requests: Sequence[Request],
        parked_until: float,
        waits_for: Mapping[PartitionAssignment, int] = NOTHING,
    ) -> None:
        """Add requests that were taken before; their lane rests, and waits for other batches."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._open(key)
        self._count(lane, -1)
        lane.requeue(requests)
        lane.waits_for.update(waits_for)
        lane.parked_until = parked_until
        lane.is_parked = lane.came_back = True
        self._schedule(lane)

    def next(self, now: float) -> Lane | None:
        """Return the lane to serve now; it keeps its place until `cut`."""
        self.advance(now)
        self._drop_stale(self._fresh)
        self._drop_stale(self._returned)
        if not self._fresh or (self._returned and self._takes % TAKES_FOR_ONE_RETURN == 0):
            return self._returned[0][3] if self._returned else None
        return self._fresh[0][3]

    def next_at(self) -> float | None:
        """Return when a lane that waits may be served; None where there is none."""
        self._drop_stale(self._later)
        return self._later[0][0] if self._later else None

    def cut(self, lane: Lane, max_rows: int, max_bytes: int) -> tuple[list[Request], int]:
        """Take a batch's requests out of a lane."""
        self._takes += 1
        self._count(lane, -1)
        lane.came_back = False
        requests, rows = lane.cut(max_rows, max_bytes)
        if lane.requests:
            self._count(lane, +1)
            self._schedule(lane)
        else:
            self._close(lane)
        return requests, rows

    def keep(self, lane: Lane, requests: Sequence[Request]) -> None:
        """Keep these of a lane's requests alone."""
        self._count(lane, -1)
        lane.requests = deque()
        lane.rows = lane.size_bytes = 0
        if not requests:
            self._close(lane)
            return
        lane.extend(requests, requests[0].polled_at)
        self._count(lane, +1)
        self._schedule(lane)

    def reschedule(self) -> None:
        """Ask again from when on each lane may be served."""
        self._later, self._fresh, self._returned = [], [], []
        for lane in self._lanes.values():
            self._push(lane)

    def advance(self, now: float) -> None:
        """Let lanes be served whose time has come."""
        while self._later and self._later[0][0] <= now:
            _, _, number, lane = heapq.heappop(self._later)
            if number != lane.entry:
                continue
            if lane.is_parked and lane.parked_until <= now:
                lane.is_parked = False
                self._count(lane, +1)
            if self._ready_at(lane) > now:
                self._push(lane)
                continue
            ready = self._returned if lane.came_back else self._fresh
            lane.entry = number = next(self._numbers)
            heapq.heappush(ready, (float(lane.key.epoch), lane.first_at, number, lane))

    def _open(self, key: LaneKey) -> Lane:
        lane = self._lanes[key] = Lane(key, self.returns_of(key))
        self.unparked += 1
        return lane

    def _close(self, lane: Lane) -> None:
        lane.entry = 0
        del self._lanes[lane.key]

    def _count(self, lane: Lane, sign: int) -> None:
        if not lane.is_parked:
            self.rows += sign * lane.rows
            self.unparked += sign

    def _schedule(self, lane: Lane) -> None:
        entries = len(self._later) + len(self._fresh) + len(self._returned)
        if entries > 2 * len(self._lanes) + _SPARE_ENTRIES:
            self.reschedule()  # most of them are stale
        else:
            self._push(lane)

    def _push(self, lane: Lane) -> None:
        lane.entry = next(self._numbers)
        heapq.heappush(self._later, (self._ready_at(lane), 0.0, lane.entry, lane))

    @staticmethod
    def _drop_stale(heap: list[_Entry]) -> None:
        while heap and heap[0][2] != heap[0][3].entry:
            heapq.heappop(heap)
