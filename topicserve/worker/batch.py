"""Stage: requests gather in lanes, and leave as batches."""

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import groupby
from operator import attrgetter
from typing import NamedTuple

from topicserve.worker.batch_sizer import BatchSizer
from topicserve.worker.config import BatchingConfig
from topicserve.worker.offsets import Slot
from topicserve.worker.request import Batch, Polled, Rejection, Request, Route

# The route of a batch that holds nothing but rejected records.
_NOWHERE = Route("", None, None, "")


class _LaneKey(NamedTuple):
    epoch: int
    route: Route


_route_of = attrgetter("route")


def _polled_order(request: Request) -> tuple[float, int, int]:
    return request.polled_at, request.record.partition, request.record.offset


@dataclass(slots=True)
class _Lane:
    """Requests for one version and signature, in the order they were polled."""

    key: _LaneKey
    requests: deque[Request] = field(default_factory=deque)
    rows: int = 0
    size_bytes: int = 0
    first_at: float = 0.0
    parked_until: float = 0.0

    def extend(self, requests: Sequence[Request], now: float) -> None:
        if not self.requests:
            self.first_at = now
        self.requests.extend(requests)
        self.rows += sum([request.input.rows for request in requests])
        self.size_bytes += sum([request.size_bytes for request in requests])

    def put_back(self, requests: Sequence[Request]) -> None:
        # Batches of this lane may come back one after the other: offsets keep their order.
        self.requests = deque(sorted([*requests, *self.requests], key=_polled_order))
        self.first_at = self.requests[0].polled_at
        self.rows += sum(request.input.rows for request in requests)
        self.size_bytes += sum(request.size_bytes for request in requests)

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


class Batcher:
    """Gathers requests by epoch, route and signature. Any thread may call it.

    What waits here is bounded by what is polled: whoever polls asks `wait_for_room` beforehand, and
    the ledger bounds all that is not yet acknowledged. An idle worker does not wait: unless a
    timeout is asked for, `take` returns whatever has gathered since the batch before.
    """

    def __init__(
        self, config: BatchingConfig, sizer: BatchSizer, clock: Callable[[], float]
    ) -> None:
        self._config = config
        self._sizer = sizer
        self._clock = clock
        lock = threading.RLock()
        self._changed = threading.Condition(lock)
        self._made_room = threading.Condition(lock)
        self._lanes: dict[_LaneKey, _Lane] = {}
        self._rejections: dict[int, list[Rejection]] = {}
        self._returns: dict[_LaneKey, int] = {}
        self._closed = False

    def add(self, requests: Sequence[Request], rejections: Sequence[Rejection], epoch: int) -> None:
        """Let requests gather; they were polled in this order.

        Rejected records go with whichever batch of the epoch leaves next: nothing else carries
        them to where dead letters are published.
        """
        now = self._clock()
        with self._changed:
            if rejections:
                self._rejections.setdefault(epoch, []).extend(rejections)
            for route, run in groupby(requests, _route_of):
                key = _LaneKey(epoch, route)
                lane = self._lanes.get(key)
                if lane is None:
                    lane = self._lanes[key] = _Lane(key)
                lane.extend(list(run), now)
            self._changed.notify()

    def wait_for_room(self, timeout_seconds: float) -> int:
        """Wait until more records can be of use, and return how many, at least one.

        Enough is a full batch of each lane and one more: with as many, some lane has a full batch.
        What is polled sooner makes no batch larger, and has left the processor's cache before its
        turn comes. Lanes that pause do not count: the others go on beside them.
        """
        with self._changed:
            self._made_room.wait_for(lambda: self._room() > 0, timeout_seconds)
            return max(self._room(), 1)

    def take(self) -> Batch | None:
        """Wait for a batch and take it; None once the batcher is closed and empty.

        The oldest epoch goes first, and within it the lane that has waited longest.
        """
        with self._changed:
            while True:
                now = self._clock()
                lane, wait_seconds = self._next_lane(now)
                if lane is not None:
                    return self._cut(lane, now)
                epoch = min(self._rejections, default=None)
                if epoch is not None:
                    return self._batch(_LaneKey(epoch, _NOWHERE), [], 0, 0.0)
                if self._closed and not self._lanes and not self._rejections:
                    return None
                self._changed.wait(wait_seconds)

    def overtakes(self, batch: Batch) -> bool:
        """Return whether an earlier batch of the same lane came back after this one was taken.

        It must come back too then, or records of one key would change their order.
        """
        with self._changed:
            return self._returns.get(_LaneKey(batch.epoch, batch.route), 0) != batch.returns_before

    def put_back(self, batch: Batch, pause_seconds: float) -> None:
        """Take a batch back whose servable is not available now; its lane pauses."""
        key = _LaneKey(batch.epoch, batch.route)
        with self._changed:
            if not self.overtakes(batch):
                self._returns[key] = batch.returns_before + 1
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = _Lane(key)
            if batch.rejections:
                self._rejections.setdefault(batch.epoch, []).extend(batch.rejections)
            lane.put_back(batch.requests)
            lane.parked_until = self._clock() + pause_seconds
            self._changed.notify_all()

    def drop_closed(self) -> list[Polled]:
        """Take out and return the records whose partitions are no longer ours."""
        dropped: list[Polled] = []
        with self._changed:
            for epoch, rejections in list(self._rejections.items()):
                dropped += [r.polled for r in rejections if r.polled.slot.closed]
                self._rejections[epoch] = [r for r in rejections if not r.polled.slot.closed]
                if not self._rejections[epoch]:
                    del self._rejections[epoch]
            for key, lane in list(self._lanes.items()):
                dropped += [request for request in lane.requests if request.slot.closed]
                left = [request for request in lane.requests if not request.slot.closed]
                if left:
                    self._lanes[key] = _Lane(key, parked_until=lane.parked_until)
                    self._lanes[key].extend(left, left[0].polled_at)
                else:
                    del self._lanes[key]
            self._changed.notify_all()
        return dropped

    def close(self) -> None:
        """Wait for nothing any more: `take` returns what is left and then None."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _room(self) -> int:
        now = self._clock()
        rows = [lane.rows for lane in self._lanes.values() if lane.parked_until <= now]
        return (max(len(rows), 1) + 1) * self._config.max_batch_size - sum(rows)

    def _next_lane(self, now: float) -> tuple[_Lane | None, float | None]:
        """Return the lane to take from, or how long until one may be ready (None: unknown)."""
        soonest: float | None = None
        for lane in sorted(self._lanes.values(), key=lambda lane: (lane.key.epoch, lane.first_at)):
            ready_at = self._ready_at(lane)
            if ready_at <= now:
                return lane, None
            soonest = ready_at if soonest is None else min(soonest, ready_at)
        return None, None if soonest is None else max(soonest - now, 0.0)

    def _ready_at(self, lane: _Lane) -> float:
        full = (
            lane.rows >= self._sizer.limit(lane.key.route)
            or lane.size_bytes >= self._config.max_batch_bytes
        )
        if full or self._closed:
            return lane.parked_until
        return max(lane.parked_until, lane.first_at + self._config.batch_timeout_seconds)

    def _cut(self, lane: _Lane, now: float) -> Batch:
        waited = max(now - lane.first_at, 0.0)
        requests, rows = lane.cut(self._sizer.limit(lane.key.route), self._config.max_batch_bytes)
        if not lane.requests:
            del self._lanes[lane.key]
        self._made_room.notify()
        return self._batch(lane.key, requests, rows, waited)

    def _batch(
        self, key: _LaneKey, requests: list[Request], rows: int, waited_seconds: float
    ) -> Batch:
        self._forget_before(key.epoch - 1)
        rejections = self._rejections.pop(key.epoch, [])
        return Batch(
            key.route,
            key.epoch,
            requests,
            rejections,
            rows,
            waited_seconds,
            self._returns.get(key, 0),
            self._take_turns(requests, rejections),
        )

    def _take_turns(
        self, requests: Sequence[Request], rejections: Sequence[Rejection]
    ) -> dict[Slot, int]:
        """Return the batch's place among the batches of each of its partitions."""
        turns = {}
        slots = {request.slot for request in requests}
        slots.update(rejection.polled.slot for rejection in rejections)
        for slot in slots:
            turns[slot] = slot.cut
            slot.cut += 1
        return turns

    def _forget_before(self, epoch: int) -> None:
        for key in [other for other in self._returns if other.epoch < epoch]:
            del self._returns[key]
