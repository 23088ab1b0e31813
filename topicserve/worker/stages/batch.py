"""Stage: requests gather in lanes, leave as batches, and are settled in the order they left."""

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from msgspec.structs import replace

from topicserve.worker.config.schema import BatchingConfig
from topicserve.worker.offsets.assignment import PartitionAssignment
from topicserve.worker.stages.batch_sizer import BatchSizer
from topicserve.worker.stages.lanes import NOTHING, Lane, LaneKey, Lanes, by_route
from topicserve.worker.stages.request import (
    NOWHERE,
    Batch,
    EndedBy,
    Polled,
    Rejection,
    Request,
)

# How often it is asked whether all of a lane's batches have come back.
RETURN_SECONDS = 0.01


class Gathers(Protocol):
    """What decoded records are given to: the batcher, or a stage in front of it.

    Any thread may call it; nothing blocks, and nothing raises.
    """

    def add(self, requests: Sequence[Request], rejections: Sequence[Rejection], epoch: int) -> None:
        """Let requests gather; they were polled in this order."""

    def add_again(self, requests: Sequence[Request], epoch: int) -> None:
        """Take single requests back whose results are of no use."""

    def drop_revoked(self) -> list[Polled]:
        """Take out and return the records whose partitions are no longer ours."""


class Batcher:
    """Gathers requests by epoch, route and signature.

    The polling thread adds and waits for room, batch threads take and requeue, the delivery thread
    gives records back, the thread of a rebalance drops what is revoked. One lock guards lanes,
    rejections, the sizer and `PartitionAssignment.cut`. Only `wait_for_room` and `take` block;
    nothing raises.

    What waits here is bounded by what is polled: the poller asks `wait_for_room` first, and the
    tracker bounds all that is not yet acknowledged. An idle worker does not wait: unless a
    timeout is asked for, `take` returns whatever has gathered since the batch before.
    """

    def __init__(
        self, config: BatchingConfig, sizer: BatchSizer, clock: Callable[[], float]
    ) -> None:
        self._config = config
        self._sizer = sizer
        self._clock = clock
        self._lock = threading.RLock()
        self._changed = threading.Condition(self._lock)
        self._made_room = threading.Condition(self._lock)
        self._lanes = Lanes(self._ready_at)
        self._rejections: dict[int, list[Rejection]] = {}
        self._closed = False
        self._expected = 0

    def add(self, requests: Sequence[Request], rejections: Sequence[Rejection], epoch: int) -> None:
        """Let requests gather; they were polled in this order.

        Rejected records go with whichever batch of the epoch leaves next: nothing else carries
        them to where dead letters are published.
        """
        now = self._clock()
        with self._lock:
            if rejections:
                self._rejections.setdefault(epoch, []).extend(rejections)
            routes = [request.route for request in requests]
            is_one = bool(routes) and routes.count(routes[0]) == len(routes)
            for run in (requests,) if is_one else by_route(requests, routes):
                self._lanes.extend(LaneKey(epoch, run[0].route), run, now)
            self._changed.notify()

    def expect(self, records: int) -> None:
        """Count records that are added later, or fewer below 0: a closed batcher waits for them."""
        with self._changed:
            self._expected += records
            if self._closed and not self._expected:
                self._changed.notify_all()

    def wait_for_room(self, timeout_seconds: float) -> int:
        """Wait until more records can be of use, and return how many, at least one.

        Enough is a full batch of each lane and one more: with as many, some lane has a full batch.
        What is polled sooner makes no batch larger, and has left the processor's cache before its
        turn comes. Lanes that pause do not count: the others go on beside them.
        """
        with self._lock:
            self._made_room.wait_for(lambda: self._room() > 0, timeout_seconds)
            return max(self._room(), 1)

    def take(self) -> Batch | None:
        """Wait for a batch and take it; None once the batcher is closed and empty.

        The oldest epoch goes first, and within it the lane that has waited longest; a lane whose
        batch came back goes behind the others, but for one take in a few.
        """
        with self._lock:
            while True:
                now = self._clock()
                lane = self._lanes.next(now) if self._lanes else None
                if lane is not None:
                    return self._cut(lane, now)
                epoch = min(self._rejections, default=None)
                if epoch is not None:
                    return self._batch(LaneKey(epoch, NOWHERE), [], 0, 0.0)
                if self._closed and not (self._lanes or self._rejections or self._expected):
                    return None
                next_at = self._lanes.next_at()
                self._changed.wait(None if next_at is None else max(next_at - now, 0.0))

    def is_stale(self, batch: Batch) -> bool:
        """Return whether an earlier batch of the same lane came back after this one was taken.

        It must come back too then, or records of one key would change their order.
        """
        with self._lock:
            returns = self._lanes.returns_of(LaneKey(batch.epoch, batch.route))
            return returns.count != batch.returns_before

    def give_back(self, batch: Batch, pause_seconds: float) -> None:
        """Take back what was not predicted, in its turn to be published.

        Batches that were cut after it come back as well. Until they have, nothing more of the lane
        is cut: what is behind them would be published before them.
        """
        with self._lock:
            known = self._lanes.returns_of(LaneKey(batch.epoch, batch.route)).cut
            cut = {one: known[one] for one in batch.turns if one in known}
            self.requeue(batch, pause_seconds, cut)

    def requeue(
        self,
        batch: Batch,
        pause_seconds: float,
        waits_for: Mapping[PartitionAssignment, int] = NOTHING,
    ) -> None:
        """Take a batch back whose servable is not available now; its lane pauses."""
        key = LaneKey(batch.epoch, batch.route)
        with self._lock:
            returns = self._lanes.returns_of(key)
            if returns.count == batch.returns_before:
                returns.count += 1
            if batch.rejections:
                self._rejections.setdefault(batch.epoch, []).extend(batch.rejections)
            if batch.requests:
                until = self._clock() + pause_seconds
                self._lanes.requeue(key, batch.requests, until, waits_for)
            self._changed.notify_all()

    def add_again(self, requests: Sequence[Request], epoch: int) -> None:
        """Take single requests back whose results are of no use, at once."""
        with self._lock:
            for request in requests:
                if request.route.is_suspect:  # it has survived its prediction
                    request = replace(request, route=replace(request.route, is_suspect=False))
                key = LaneKey(epoch, request.route)
                self._lanes.requeue(key, [request], self._clock())
            self._changed.notify_all()

    def note_results(self, batch: Batch, size_bytes: int) -> None:
        """Note how large a batch's results are: the next ones on its route are cut by it."""
        with self._lock:
            self._sizer.observe_results(batch.route, batch.rows, size_bytes)
            if batch.cost:
                self._sizer.observe_cost(batch.route, batch.rows, batch.cost)

    def drop_revoked(self) -> list[Polled]:
        """Take out and return the records whose partitions are no longer ours."""
        dropped: list[Polled] = []
        with self._lock:
            for epoch, rejections in list(self._rejections.items()):
                dropped += [r.polled for r in rejections if r.polled.assignment.closed]
                self._rejections[epoch] = [r for r in rejections if not r.polled.assignment.closed]
                if not self._rejections[epoch]:
                    del self._rejections[epoch]
            for lane in self._lanes:
                gone = [request for request in lane.requests if request.assignment.closed]
                if gone:
                    dropped += gone
                    self._lanes.keep(lane, [r for r in lane.requests if not r.assignment.closed])
            self._lanes.forget_closed()
            self._changed.notify_all()
        return dropped

    def close(self) -> None:
        """Wait for nothing any more: `take` returns what is left and then None."""
        with self._lock:
            self._closed = True
            self._lanes.reschedule()
            self._changed.notify_all()

    def _room(self) -> int:
        self._lanes.advance(self._clock())
        lanes = max(self._lanes.unparked, 1)
        return (lanes + 1) * self._config.max_batch_size - self._lanes.rows

    def _ready_at(self, lane: Lane) -> float:
        if lane.waits_for and not lane.may_be_cut():
            return max(lane.parked_until, self._clock() + RETURN_SECONDS)
        full = (
            lane.rows >= self._sizer.limit(lane.key.route)
            or lane.size_bytes >= self._config.max_batch_bytes
        )
        if full or self._closed:
            return lane.parked_until
        return max(lane.parked_until, lane.first_at + self._config.batch_timeout_seconds)

    def _cut(self, lane: Lane, now: float) -> Batch:
        waited = max(now - lane.first_at, 0.0)
        limit = self._sizer.limit(lane.key.route)
        requests, rows = self._lanes.cut(lane, limit, self._config.max_batch_bytes)
        self._made_room.notify()
        batch = self._batch(lane.key, requests, rows, waited)
        batch.ended_by = self._ended_by(lane, rows, limit)
        return batch

    def _ended_by(self, lane: Lane, rows: int, limit: int) -> EndedBy:
        """Return why a batch that was cut has no more rows; what is left is still in its lane."""
        full = EndedBy.ROWS if limit >= self._config.max_batch_size else EndedBy.LIMIT
        if lane.requests:  # the next one did not fit
            fits = rows + lane.requests[0].input.rows <= limit
            return EndedBy.BYTES if fits else full
        if rows >= limit:
            return full
        if self._config.batch_timeout_seconds and not self._closed:
            return EndedBy.TIMEOUT
        return EndedBy.GATHERED

    def _batch(
        self, key: LaneKey, requests: list[Request], rows: int, waited_seconds: float
    ) -> Batch:
        rejections = self._rejections.pop(key.epoch, [])
        assignments = {request.assignment for request in requests}
        assignments.update(rejection.polled.assignment for rejection in rejections)
        # The batch's place among the batches of each of its partitions (see PublishOrder).
        turns = {}
        returns = self._lanes.returns_of(key)
        for assignment in assignments:
            turns[assignment] = assignment.cut
            assignment.cut += 1
            returns.cut[assignment] = assignment.cut
        return Batch(
            *(key.route, key.epoch, requests, rejections, rows, waited_seconds),
            returns_before=returns.count,
            turns=turns,
            returns=returns,
        )


Settle: TypeAlias = Callable[[Collection[PartitionAssignment] | None], None]
"""Publishes or requeues a batch: the records of these assignments, or all of them for None."""


class PublishOrder:
    """Keeps the order of each partition's records. Batch threads call it; nothing waits.

    One lock guards the order. It is not held while a batch is settled: that may block for as long
    as publishing does, and what it raises passes to the thread that called, after the turn has been
    passed on.

    A batch whose turn has not come is left here, and settled by the thread that settles its
    predecessors, for all the partitions at once whose turn has come by then. So a batch that hangs
    holds back its own partitions alone, and no thread.
    """

    def __init__(self) -> None:
        # Guards `PartitionAssignment.settled` and what waits here.
        self._lock = threading.Lock()
        self._waiting: dict[PartitionAssignment, dict[int, _Unsettled]] = {}

    def settle(self, batch: Batch, settle: Settle) -> None:
        """Settle a batch now or later. Every batch that was cut must come here exactly once."""
        with self._lock:
            is_next = all(assignment.settled == turn for assignment, turn in batch.turns.items())
            if not is_next:
                unsettled = _Unsettled(settle, dict(batch.turns), len(batch.turns))
                for assignment, turn in batch.turns.items():
                    self._waiting.setdefault(assignment, {})[turn] = unsettled
        if is_next:
            try:
                settle(None)
            finally:
                self._pass_on(batch.turns)
        self._settle_waiting(batch.turns)

    def waiting(self) -> list[PartitionAssignment]:
        """Return the assignments that have predicted records whose turn has not come."""
        with self._lock:
            return list(self._waiting)

    def _pass_on(self, assignments: Collection[PartitionAssignment]) -> None:
        with self._lock:
            for assignment in assignments:
                assignment.settled += 1

    def _settle_waiting(self, assignments: Collection[PartitionAssignment]) -> None:
        """Settle what waits for these assignments, one batch after the other, as far as it goes."""
        looked_at = list(assignments)
        while looked_at:
            with self._lock:
                unsettled = self._waiting.get(looked_at[-1], {}).get(looked_at[-1].settled)
                share = () if unsettled is None else self._take_share(unsettled)
            if unsettled is None:
                looked_at.pop()
                continue
            try:
                unsettled.settle(None if len(share) == unsettled.partitions else share)
            finally:
                self._pass_on(share)
            looked_at += share  # what waits behind it

    def _take_share(self, unsettled: "_Unsettled") -> Collection[PartitionAssignment]:
        """Take the part of a batch out whose turn has come. The caller holds the lock."""
        share = {one for one, turn in unsettled.turns.items() if one.settled == turn}
        for assignment in share:
            del self._waiting[assignment][unsettled.turns.pop(assignment)]
            if not self._waiting[assignment]:
                del self._waiting[assignment]
        return share


@dataclass(slots=True)
class _Unsettled:
    """A batch that waits."""

    settle: Settle
    turns: dict[PartitionAssignment, int]
    """Its place in each partition for which it was not settled yet."""
    partitions: int
    """Of how many partitions it has records."""
