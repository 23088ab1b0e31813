"""The threads that read bodies, and what becomes of each try."""

import threading
import weakref
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

from msgspec.structs import replace

from topicserve.backends.references.allow_list import Location
from topicserve.backends.references.errors import (
    BodyMismatchError,
    BodyNotFoundError,
    BodyTooLargeError,
    BrokenAnswerError,
    ReferenceRefusedError,
)
from topicserve.backends.references.reading import ReadLimits
from topicserve.backends.references.stores import BodyStores
from topicserve.errors import TopicserveError
from topicserve.servables.core.errors import error_text
from topicserve.wire.dead_letter import Reason
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.stages.decode import Decoder
from topicserve.worker.stages.fetch.store_queue import StoreQueue
from topicserve.worker.stages.fetch.time_limits import BodyUnavailableError, TimeLimits
from topicserve.worker.stages.fetch.waiting import Waiting
from topicserve.worker.stages.request import FetchedRequest, HeldBody, Rejection, Request

MAX_LOST_THREADS = 64
"""Threads that may be left in a call that does not return; each is replaced by another."""
# A store's own limit comes first where it has one: it says more.
_GRACE_SECONDS = 1.0
# How often it is looked whether there is room, which other stages make.
_LOOK_SECONDS = 0.05
# How often it is looked for records whose time ends while they wait for their turn.
_EXPIRY_SECONDS = 1.0
# How fast the size that bodies are expected to have follows those that come.
_DECAY = 0.9

_FINAL: tuple[tuple[type[Exception], Reason], ...] = (
    (ReferenceRefusedError, Reason.DATAREF_REFUSED),
    (BodyNotFoundError, Reason.DATAREF_NOT_FOUND),
    (BodyTooLargeError, Reason.DATAREF_TOO_LARGE),
    (BodyMismatchError, Reason.DATAREF_MISMATCH),
)

Observe = Callable[[Request, Location], AbstractContextManager[object]]


@dataclass(slots=True, eq=False)
class _Try:
    """One try to fetch a body, by one thread."""

    waiting: Waiting
    queue: StoreQueue
    limits: ReadLimits
    started: float
    timeout_seconds: float
    is_short: bool
    """Whether its record left less time than a try may take: it says less of the store."""
    is_abandoned: bool = False
    is_read: bool = False
    """Whether its body is here, and is decoded when its turn comes."""
    decoding_since: float | None = None


class FetchThreads:
    """Reads bodies within what may be in flight, and tells what each record becomes.

    `changed` is its owner's lock, which the methods expect to be held, but for `step` and
    `problems`. It is not held while a store is read. The threads start with the first body.
    """

    def __init__(
        self,
        environment: Environment,
        tracker: OffsetTracker,
        decoder: Decoder,
        stores: BodyStores,
        changed: threading.Condition,
        done: Callable[[Waiting, Request | Rejection], None],
    ) -> None:
        """`done` is called with the lock held, once for each record but those dropped before."""
        self._config = environment.config.dataref
        self._max_bytes = environment.config.batching.max_in_flight_bytes
        self._metrics = environment.metrics
        self._fatal = environment.fatal
        self._clock = environment.clock
        self._tracker = tracker
        self.decoder = decoder
        """Used by one thread at a time."""
        self._stores = stores
        self._changed = changed
        self._done = done
        self.observe: Observe = lambda _, __: nullcontext()
        """Entered around each try."""
        self.on_hang: Callable[[Request], None] = lambda _: None
        """Called by `step` for a record whose body is decoded for too long: it ends the worker."""
        self._decode_seconds = environment.config.delivery.predict_timeout_seconds
        self._time_limits = TimeLimits(environment)
        self._queues = {
            prefix: StoreQueue(prefix.url, self._time_limits.backoff)
            for prefix in stores.allow_list.prefixes
        }
        self._decoding = threading.Lock()
        self._tries: set[_Try] = set()
        self._held: weakref.WeakSet[HeldBody] = weakref.WeakSet()
        self._expected_bytes = float(self._config.max_bytes)
        self._expire_at = 0.0
        self._threads = 0
        self._lost = 0
        self._closed = False

    def put(self, waiting: Waiting, location: Location) -> None:
        """Have the body of a record fetched."""
        waiting.location = location
        assert location.prefix is not None
        self._queues[location.prefix].put(waiting)
        self._start_threads()
        self._changed.notify()

    def is_reading(self, waiting: Waiting) -> bool:
        """Return whether a thread reads the body of this record."""
        return any(one.waiting is waiting for one in self._tries)

    def step(self) -> None:
        """Give up what takes too long; the polling thread calls it at every turn."""
        now = self._clock()
        if not self._tries and now < self._expire_at:  # nearly always: without the lock
            return
        with self._changed:
            for one in list(self._tries):
                if not one.is_read and now - one.started > one.timeout_seconds + _GRACE_SECONDS:
                    self._abandon(one, now)
            hangs = [one for one in self._tries if self._hangs(one, now)]
            if now >= self._expire_at:
                self._expire_at = now + _EXPIRY_SECONDS
                self._expire(now)
        for one in hangs:  # without the lock: this waits for the broker
            self.on_hang(one.waiting.request)

    def _hangs(self, one: _Try, now: float) -> bool:
        since, limit = one.decoding_since, self._decode_seconds
        return since is not None and limit > 0 and now - since > limit

    def problems(self) -> list[str]:
        """Return which stores do not answer, and why. Any thread may call it."""
        return [
            f"bodies under {queue.store} cannot be fetched: {problem}"
            for queue in self._queues.values()
            if (problem := queue.problem) is not None
        ]

    def close(self) -> None:
        """Read nothing more, and end what is being read where that is possible."""
        self._closed = True
        for one in self._tries:
            one.limits.abandon()
        self._changed.notify_all()

    def _start_threads(self) -> None:
        while self._threads < self._config.threads:
            self._threads += 1
            threading.Thread(target=self._run, name="topicserve-fetch", daemon=True).start()

    def _run(self) -> None:
        try:
            while (one := self._take()) is not None:
                self._settle(one, self._fetch(one))
                if one.is_abandoned:  # another thread has its place
                    return
        except BaseException as error:
            self._fatal.report(error)

    def _take(self) -> _Try | None:
        """Wait for a body to fetch; None once it is closed."""
        with self._changed:
            while not self._closed:
                now = self._clock()
                if not self._has_room():
                    self._changed.wait(_LOOK_SECONDS)
                elif (one := self._take_due(now)) is not None:
                    return one
                else:
                    known = [queue.next_at() for queue in self._queues.values()]
                    at = min((one for one in known if one is not None), default=None)
                    self._changed.wait(None if at is None else max(at - now, 0.0))
            return None

    def _take_due(self, now: float) -> _Try | None:
        for queue in self._queues.values():
            while (waiting := queue.take(now)) is not None:
                one = self._begin(queue, waiting, now)
                if one is not None:
                    return one
                queue.ended(waiting)
        return None

    def _has_room(self) -> bool:
        """Return whether one body more may be in flight.

        One always may where there is none: all that is in flight may wait for it, as an epoch does.
        """
        if not self._tries and not self._held:
            return True
        expected = self._expected_bytes
        coming = sum(max(expected - one.limits.counted_bytes, 0) for one in self._tries)
        return self._tracker.in_flight_bytes + coming + expected <= self._max_bytes

    def _begin(self, queue: StoreQueue, waiting: Waiting, now: float) -> _Try | None:
        """Begin a try, unless there is no use in it any more."""
        if waiting.outcome is not None:
            return None
        if waiting.is_revoked:
            self._done(waiting, waiting.request)
            return None
        if (rejection := self._time_limits.ended(waiting, now)) is not None:
            self._done(waiting, rejection)
            return None
        seconds = self._time_limits.try_seconds(waiting, now)
        limits = ReadLimits(self._config.max_bytes, seconds, self._tracker.count_bytes, self._clock)
        one = _Try(waiting, queue, limits, now, seconds, self._time_limits.is_short(seconds))
        self._tries.add(one)
        return one

    def _expire(self, now: float) -> None:
        """Give up records whose time ended before their turn came."""
        for queue in self._queues.values():
            for waiting in list(queue.queued()):
                is_open = waiting.outcome is None and not waiting.is_revoked
                if is_open and (rejection := self._time_limits.ended(waiting, now)) is not None:
                    self._done(waiting, rejection)

    def _fetch(self, one: _Try) -> Request | Rejection | Exception:
        """Return what becomes of a record, or why its body could not be read."""
        request, location = one.waiting.request, one.waiting.location
        reference = request.reference
        assert reference is not None
        assert location is not None
        try:
            with self.observe(request, location), self._metrics.dataref_fetch_seconds.time():
                body = self._stores.read(location, reference.sha256, one.limits)
        # Whatever a store's client raises concerns this body alone.
        except Exception as error:
            return self._judged(request, error)
        self._metrics.dataref_fetches.labels("found").inc()
        self._metrics.dataref_bytes.inc(len(body))
        one.is_read = True
        with self._decoding:
            one.decoding_since = self._clock()
            decoded = self.decoder.decode_body(request, body)
        if isinstance(decoded, Rejection):
            return decoded
        found = replace(request.input, record_id=decoded.input.record_id)
        return FetchedRequest(
            *(decoded.record, decoded.assignment, decoded.size_bytes, decoded.polled_at),
            *(decoded.input, decoded.route),
            replace(request, input=found),
            HeldBody(),
        )

    def _judged(self, request: Request, error: Exception) -> Rejection | Exception:
        """Return a rejection where trying again is of no use, else the error."""
        for kind, reason in _FINAL:
            if isinstance(error, kind):
                self._metrics.dataref_fetches.labels(reason.value.removeprefix("dataref_")).inc()
                return Rejection(request, reason, error)
        self._metrics.dataref_fetches.labels("failed").inc()
        return error

    def _settle(self, one: _Try, found: Request | Rejection | Exception) -> None:
        """Tell what a try came to, unless it was given up meanwhile."""
        with self._changed:
            counted = -one.limits.counted_bytes
            if isinstance(found, FetchedRequest) and not one.is_abandoned:
                self._held.add(found.held)
                counted += found.size_bytes - found.origin.size_bytes
                self._expect(one.limits.counted_bytes)
            self._tracker.count_bytes(counted)
            if one.is_abandoned:
                self._lost -= 1
                return
            self._end(one)
            if isinstance(found, Exception):
                self._retry(one, found)
            else:
                one.queue.answered(self._clock())
                self._done(one.waiting, found)

    def _expect(self, size_bytes: int) -> None:
        self._expected_bytes = max(self._expected_bytes * _DECAY, size_bytes)

    def _end(self, one: _Try) -> None:
        self._tries.remove(one)
        one.queue.ended(one.waiting)
        self._changed.notify_all()

    def _abandon(self, one: _Try, now: float) -> None:
        """Go on without a thread that does not return."""
        if self._lost >= MAX_LOST_THREADS:
            return
        self._lost += 1
        self._threads -= 1
        one.is_abandoned = True
        one.limits.abandon()
        self._end(one)
        self._metrics.dataref_fetches.labels("failed").inc()
        self._start_threads()
        self._retry(one, BodyUnavailableError(f"no answer for {now - one.started:.0f} s"))

    def _retry(self, one: _Try, error: Exception) -> None:
        """Try again later what may pass, for as long as is configured."""
        now, waiting = self._clock(), one.waiting
        problem = str(error) if isinstance(error, TopicserveError) else error_text(error)
        is_broken = isinstance(error, BrokenAnswerError)
        if is_broken:
            one.queue.answered(now)
        # A deadline or the end of its time cut it off, which says nothing of the store.
        was_cut = one.is_short and now - one.started >= one.timeout_seconds
        is_store = not (is_broken or was_cut) and one.queue.failed(
            waiting, one.started, now, problem
        )
        if is_store and waiting.is_probe:
            # Its own time has not begun: few records are given up in a long outage.
            one.queue.put(waiting)
            return
        next_try = self._time_limits.after_failure(
            waiting, one.started, now, problem, is_broken=is_broken
        )
        if isinstance(next_try, Rejection):
            self._done(waiting, next_try)
        else:
            one.queue.put(waiting, now + next_try)
