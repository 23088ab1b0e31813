"""Lists that wait until librdkafka would send them.

An idempotent librdkafka producer has one batch of a partition on its way, and up to 2.16 its thread
polls without rest while records of that partition are behind it whose `linger.ms` is over: with
brokers that take 15 ms to answer, most of a core (ADR 0027). So while more than a few records are
on their way, lists are kept here. They are produced together once those are written, or after
`HOLD_SECONDS`, as soon as the delivery thread looks: one broker that does not answer must not hold
up the partitions of the others. Nor are more than `MAX_HELD_RECORDS` kept: where so much is to be
sent, partitions that are written sooner than others must not wait for them, and what polling costs
is little for each record.
"""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence

from topicserve.backends.errors import BackendError
from topicserve.backends.in_flight import InFlight, PendingSend
from topicserve.wire.kafka_record import OutgoingRecord

HOLD_SECONDS = 0.05
MAX_HELD_RECORDS = 512
# librdkafka's RD_KAFKA_IDEMP_MAX_INFLIGHT. It counts records, not requests.
SENT_AT_ONCE = 5

Produce = Callable[[Sequence[OutgoingRecord], PendingSend], None]
"""Hands a list to librdkafka; raises nothing."""


class HeldSends:
    """Produces lists in the order in which they were added, at once or a little later.

    Any thread may add and drop. `release` is for the delivery thread, which learns what is written.
    """

    def __init__(
        self,
        produce: Produce,
        in_flight: InFlight,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._produce = produce
        self._in_flight = in_flight
        self._clock = clock
        # Held while lists are produced: none may overtake another. Also whenever it is looked at
        # what waits: what is added now may have just missed what was written.
        self._lock = threading.Lock()
        self._held: deque[tuple[float, Sequence[OutgoingRecord], PendingSend]] = deque()
        self._held_records = 0
        self._few = 0.0

    def add(self, records: Sequence[OutgoingRecord], pending_send: PendingSend, few: float) -> None:
        """Produce a list that was admitted, or hold it while more than a few are on their way."""
        with self._lock:
            self._few = few
            held = self._held_records + len(records)
            if held <= MAX_HELD_RECORDS and (self._held or self._in_flight.on_their_way > few):
                self._held.append((self._clock(), records, pending_send))
                self._held_records = held
            else:
                self._hand_over_held()
                self._hand_over(records, pending_send)

    def release(self) -> float | None:
        """Produce what has waited long enough; return for how long the rest may wait, if any."""
        with self._lock:
            left = self._held[0][0] + HOLD_SECONDS - self._clock() if self._held else 0.0
            if left > 0 and self._in_flight.on_their_way > self._few:
                return left
            self._hand_over_held()
        return None

    def drop(self, why: BackendError) -> None:
        """Let go of what is held: it is not written, and that is why."""
        with self._lock:
            dropped = [pending_send for _, _, pending_send in self._held]
            self._held.clear()
            self._held_records = 0
        for pending_send in dropped:
            pending_send.errors[:] = [why] * len(pending_send.errors)
            pending_send.complete()

    def _hand_over_held(self) -> None:
        self._held_records = 0
        while self._held:
            _, records, pending_send = self._held.popleft()
            self._hand_over(records, pending_send)

    def _hand_over(self, records: Sequence[OutgoingRecord], pending_send: PendingSend) -> None:
        self._in_flight.note_sent(pending_send)
        self._produce(records, pending_send)
