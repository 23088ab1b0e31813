"""Tells anyone who listens what happens (TF Serving: util/event_bus.h)."""

import logging
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

E = TypeVar("E")

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class EventAndTime(Generic[E]):
    """An event, and when it was published by the bus's clock."""

    event: E
    time_seconds: float


Subscriber = Callable[[EventAndTime[E]], None]


class Subscription:
    """Ends with `close`; after it the subscriber is called no more."""

    def __init__(self, unsubscribe: Callable[[], None]) -> None:
        self._unsubscribe = unsubscribe

    def close(self) -> None:
        """Hear nothing any more. Any thread may call it, any number of times."""
        self._unsubscribe()


class EventBus(Generic[E]):
    """Calls every subscriber with every event, one event after another, in their order.

    `add` says where in the order an event is and may be called under any lock; `deliver` calls the
    subscribers, on the calling thread, and must be called under none. While one thread delivers,
    another leaves its events to that thread. So a subscriber may call anything, the publisher
    included; it should be quick. What it raises is logged, and goes no further.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        # Bounded by what may happen between two deliveries, which follow each other directly.
        self._events: deque[EventAndTime[E]] = deque()
        self._subscribers: tuple[Subscriber[E], ...] = ()
        self._lock = threading.Lock()
        self._delivering = threading.Lock()

    def subscribe(self, subscriber: Subscriber[E]) -> Subscription:
        """Call `subscriber` with what is published from now on."""
        with self._lock:
            self._subscribers = (*self._subscribers, subscriber)
        return Subscription(lambda: self._unsubscribe(subscriber))

    def publish(self, event: E) -> None:
        """Add one event and deliver."""
        self.add(event)
        self.deliver()

    def add(self, event: E) -> None:
        """Give the event its place and time; `deliver` must follow."""
        self._events.append(EventAndTime(event, self._clock()))

    def deliver(self) -> None:
        """Bring what has been added to the subscribers, unless another thread is at it."""
        # Looked at again after letting go: what was added while another thread was about to
        # stop would otherwise stay.
        while self._events and self._delivering.acquire(blocking=False):
            try:
                self._deliver_all()
            finally:
                self._delivering.release()

    def _deliver_all(self) -> None:
        while self._events:
            event = self._events.popleft()
            for subscriber in self._subscribers:
                try:
                    subscriber(event)
                # A listener's fault must not stop the lifecycle that it listens to.
                except Exception:
                    _logger.exception("a subscriber failed on %s", event)

    def _unsubscribe(self, subscriber: Subscriber[E]) -> None:
        with self._lock:
            self._subscribers = tuple(one for one in self._subscribers if one is not subscriber)
