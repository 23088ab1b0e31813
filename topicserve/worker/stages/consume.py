"""Stage: partitions are paused while enough is in progress.

The polling thread asks it before each poll and after each decoding. It only pauses: nothing is
dropped, and the member goes on polling.
"""

from collections.abc import Collection, Mapping, Sequence

from topicserve.backends.broker import Consumer
from topicserve.wire.kafka_record import KafkaRecord, TopicPartition
from topicserve.worker.offsets.lag import LagGauges
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.runtime.environment import Environment
from topicserve.worker.stages.request import Rejection, Request

_SHORT_WAIT_SECONDS = 0.1
_OBSERVE_SECONDS = 1.0


class FlowControl:
    """Keeps what is in progress within its bounds by pausing partitions.

    The polling thread calls it, before each poll (`regulate`) and after one with records (`admit`),
    and during a rebalance; of the rest, each member says so that any thread may call.
    """

    def __init__(
        self, environment: Environment, consumer: Consumer, tracker: OffsetTracker
    ) -> None:
        batching = environment.config.batching
        self._consumer = consumer
        self._tracker = tracker
        self._max_records = batching.max_in_flight_records
        self._max_bytes = batching.max_in_flight_bytes
        self._metrics = environment.metrics
        self._clock = environment.clock
        self._observe_at = self._clock()
        self._record_bytes = 1
        """What a record of the last poll was counted with."""
        self._paused: set[TopicPartition] = set()
        self._held: set[TopicPartition] = set()
        self._problem: tuple[str, float] | None = None
        self.has_joined = False
        """Whether the group has ever taken this worker in, with partitions or without."""
        self._lag = LagGauges(tracker, self._metrics, environment.wall_clock)

    def regulate(self, held: Collection[TopicPartition], *, is_paused: bool) -> int:
        """Pause and resume partitions; return how many records to poll, at least one.

        All partitions are paused when the worker is full, or for good where it is paused, and
        resumed at half; the `held` ones stay paused whatever there is room for. Waits a moment for
        room: a pause throws away what the client has fetched.
        """
        self._observe()
        self._hold(set(held))
        self._metrics.breaker_open.set(is_paused)
        if is_paused or not self._tracker.wait_until(self._has_room, _SHORT_WAIT_SECONDS):
            self._pause()
        elif self._paused and self._half_empty():
            self._resume()
        return self._room()

    def admit(
        self,
        records: Sequence[KafkaRecord],
        requests: Sequence[Request],
        rejections: Sequence[Rejection],
    ) -> None:
        """Count polled records and their bytes."""
        size = sum([request.size_bytes for request in requests])
        size += sum([rejection.polled.size_bytes for rejection in rejections])
        self._tracker.count_bytes(size)
        self._record_bytes = max(size // len(records), 1)
        topics = [record.topic for record in records]
        for topic in set(topics):
            self._metrics.records_consumed.labels(topic).inc(topics.count(topic))

    def forget(self, partitions: Sequence[TopicPartition]) -> None:
        """Take these partitions for unpaused, and show nothing of them until they are looked at."""
        self._paused.difference_update(partitions)
        self._held.difference_update(partitions)
        self._lag.forget(partitions)

    def knows_old_ends(self) -> bool:
        """Return whether partitions may end later than the client knows. Any thread may call it."""
        return bool(self._paused or self._held or self._lag.is_behind())

    def consumer_problem(self) -> str:
        """Return the consumer's last error and since when, empty without. Any thread may call it.

        Meaningful while no records come: they clear it.
        """
        problem = self._problem
        return "" if problem is None else f"{problem[0]} (for {self._clock() - problem[1]:.0f} s)"

    def know_ends(self, ends: Mapping[TopicPartition, int]) -> None:
        """Note where partitions end by now. Any thread may call it."""
        self._lag.know_ends(ends)

    def _observe(self) -> None:
        """Set the gauges, once a second."""
        now = self._clock()
        if now < self._observe_at:
            return
        self._observe_at = now + _OBSERVE_SECONDS
        self._metrics.in_flight_records.set(self._tracker.in_flight_records)
        self._metrics.in_flight_bytes.set(self._tracker.in_flight_bytes)
        stats = self._consumer.stats()
        self._tracker.reading.pass_to(stats.positions)
        self._lag.observe(stats)
        since = now if self._problem is None else self._problem[1]
        self._problem = (stats.problem, since) if stats.problem else None
        self.has_joined = self.has_joined or stats.is_member

    def _hold(self, wanted: set[TopicPartition]) -> None:
        """Keep these partitions paused, and no others, whatever there is room for."""
        if wanted == self._held:
            return
        if new := wanted - self._held - self._paused:
            self._consumer.pause(sorted(new))
        if freed := self._held - wanted - self._paused:
            self._consumer.resume(sorted(freed))
        self._held = wanted

    def _room(self) -> int:
        """Return how many more records may be in progress; at least one: a poll asks for some.

        Bytes are only known once they are here: a poll may pass their bound once, where its records
        are larger than those of the poll before.
        """
        records = self._max_records - self._tracker.in_flight_records
        left_bytes = self._max_bytes - self._tracker.in_flight_bytes
        return max(min(records, left_bytes // self._record_bytes), 1)

    def _has_room(self) -> bool:
        return (
            self._tracker.in_flight_records < self._max_records
            and self._tracker.in_flight_bytes < self._max_bytes
        )

    def _half_empty(self) -> bool:
        return (
            self._tracker.in_flight_records <= self._max_records // 2
            and self._tracker.in_flight_bytes <= self._max_bytes // 2
        )

    def _pause(self) -> None:
        # Newly assigned partitions come unpaused, so this is asked again every time.
        new = set(self._tracker.partitions()) - self._paused - self._held
        if new:
            self._consumer.pause(sorted(new))
        self._note(self._paused | new)

    def _resume(self) -> None:
        self._consumer.resume(sorted(self._paused - self._held))
        self._note(set())

    def _note(self, paused: set[TopicPartition]) -> None:
        self._paused = paused & set(self._tracker.partitions())
        self._metrics.paused_partitions.set(len(self._paused))
