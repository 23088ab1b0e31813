import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

import pytest
from prometheus_client import CollectorRegistry

from tests.support.stages.environments import an_environment
from tests.support.stages.logged import Logged
from tests.support.stages.records import ManualClock, a_kafka_record
from topicserve.backends.broker import LogOffsets
from topicserve.backends.errors import AuthenticationError, BackendUnavailableError
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.config.schema import KafkaConfig
from topicserve.worker.health.broker_watch import ASK_SECONDS, ENDS_SECONDS, BrokerWatch
from topicserve.worker.offsets.tracker import OffsetTracker
from topicserve.worker.runtime.topic_limit import ASK_AGAIN_SECONDS, TopicLimit

PARTITION = TopicPartition("in", 0)
LIMIT_SECONDS = 10
# 2026-01-02T03:04:05Z, when the clock begins.
STARTED_AT = 1767323045.0
START = ManualClock()()


class FakeAdmin:
    """Answers as it is told, and counts what it is asked."""

    def __init__(self) -> None:
        self.asked = 0
        self.closed = 0
        self.on_committed: Callable[[], object] = lambda: None
        self.error: Exception | None = None
        self.missing: set[str] = set()
        self.stood: dict[TopicPartition, int | None] = {}
        self.log = LogOffsets(0, 0)
        self.max_message_bytes = "1000"

    def topic_config(self, topic: str, name: str, timeout_seconds: float) -> str | None:  # noqa: ARG002
        self._answer()
        return self.max_message_bytes

    def partitions(self, topic: str, timeout_seconds: float) -> int | None:  # noqa: ARG002
        self._answer()
        return None if topic in self.missing else 1

    def log_offsets(
        self,
        partitions: Sequence[TopicPartition],
        timeout_seconds: float,  # noqa: ARG002
    ) -> dict[TopicPartition, LogOffsets]:
        self._answer()
        return dict.fromkeys(partitions, self.log)

    def committed(
        self,
        group_id: str,  # noqa: ARG002
        partitions: Sequence[TopicPartition],
        timeout_seconds: float,  # noqa: ARG002
    ) -> dict[TopicPartition, int | None]:
        self._answer()
        self.on_committed()
        return {partition: self.stood.get(partition) for partition in partitions}

    def close(self) -> None:
        self.closed += 1

    def _answer(self) -> None:
        self.asked += 1
        if self.error is not None:
            raise self.error


class World:
    """A watch that is stepped by hand."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.tracker, self.clock, self.admin = OffsetTracker(), ManualClock(), FakeAdmin()
        self.ends: dict[TopicPartition, int] = {}
        self.paused = False
        self.limit = TopicLimit("out", self.clock)
        environment = replace(
            an_environment(self.registry, self.clock, kafka=KafkaConfig(group_id="group")),
            wall_clock=lambda: self.clock() + STARTED_AT - START,
        )
        environment.metrics.expect_topics(["in"])
        self.watch = BrokerWatch(
            environment,
            lambda: self.admin,  # type: ignore[arg-type,return-value]
            self.tracker,
            self,
            [self.limit],
        )

    def knows_old_ends(self) -> bool:
        return self.paused

    def know_ends(self, ends: Mapping[TopicPartition, int]) -> None:
        self.ends.update(ends)

    def pass_time(self, seconds: float) -> None:
        """Step once a second for so long."""
        for _ in range(int(seconds)):
            self.clock.advance(1)
            self.watch.step()

    def value(self, name: str, **labels: str) -> float | None:
        return self.registry.get_sample_value(f"topicserve_{name}", labels)


def events(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return the names of the events logged."""
    return [record.msg for record in caplog.records]


def test_a_silent_broker_makes_the_worker_unready_and_is_told_once(
    caplog: pytest.LogCaptureFixture, logged: Logged
) -> None:
    """One line when it is away, one when it is back; the gauge and /readyz follow."""
    world = World()
    world.admin.error = BackendUnavailableError("no answer")

    world.pass_time(14)
    assert world.watch.problem() is None
    assert world.value("broker_reachable") == 1
    world.pass_time(30)
    assert world.watch.problem() == (
        "no broker has answered since 2026-01-02T03:04:05Z (44 s); last error: no answer"
    )
    assert world.value("broker_reachable") == 0
    world.admin.error = None
    world.pass_time(ASK_SECONDS + 1)

    assert world.watch.problem() is None
    assert world.value("broker_reachable") == 1
    assert events(caplog) == ["broker_away", "broker_back"]
    assert logged("broker_away") == [{"problem": "no answer"}]
    assert logged("broker_back") == [{"away_seconds": 45}]


def test_a_question_without_an_answer_is_told_of_from_the_first_on() -> None:
    """A quiet worker is asked nothing for seconds, and waits for nothing."""
    world = World()

    world.pass_time(ASK_SECONDS - 1)
    assert world.watch.unanswered_seconds() == 0
    world.admin.error = BackendUnavailableError("no answer")
    world.pass_time(9)
    assert world.watch.unanswered_seconds() == ASK_SECONDS + 8
    world.admin.error = None
    world.pass_time(ASK_SECONDS)

    assert world.watch.unanswered_seconds() == 0


def test_a_question_that_is_open_is_not_answered_so_far() -> None:
    """For as long as no broker was heard of; an answer takes milliseconds."""
    world = World()
    told: list[float] = []
    partitions = world.admin.partitions

    def answer_late(topic: str, timeout_seconds: float) -> int | None:
        told.append(world.watch.unanswered_seconds())
        world.clock.advance(3)
        told.append(world.watch.unanswered_seconds())
        return partitions(topic, timeout_seconds)

    world.admin.partitions = answer_late  # type: ignore[method-assign]
    world.pass_time(ASK_SECONDS)

    assert told == [0, ASK_SECONDS + 3]
    assert world.watch.unanswered_seconds() == 0


def test_a_bug_in_the_watch_is_logged_with_its_traceback_and_ends_nothing(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """The worker goes on; the thread ends when it is asked to."""
    world = World()
    world.admin.error = KeyError("a bug")

    world.watch.start()
    world.watch.close(LIMIT_SECONDS)

    line = caplog.records[0]
    assert (line.msg, line.levelname) == ("broker_watch_failed", "ERROR")
    assert line.exc_info is not None
    assert line.exc_info[0] is KeyError
    assert world.admin.closed == 1


def test_a_missing_topic_makes_the_worker_unready_and_is_told_once(
    caplog: pytest.LogCaptureFixture, logged: Logged
) -> None:
    """By its name; its partitions, which the group may still have, are asked no offsets."""
    world = World()
    world.tracker.assign([PARTITION])
    world.admin.missing = {"in"}

    world.pass_time(30)
    problem = world.watch.problem()
    world.admin.missing.clear()
    world.pass_time(ASK_SECONDS)

    assert problem == "no such topic: 'in'; waiting until it is created again"
    assert world.watch.problem() is None
    assert world.value("broker_reachable") == 1
    assert events(caplog) == ["topic_missing", "topic_found"]
    assert logged("topic_missing") == logged("topic_found") == [{"topic": "in"}]


def test_a_busy_worker_asks_nothing() -> None:
    """What is polled and committed shows that a broker answers."""
    world = World()
    world.tracker.assign([PARTITION])
    world.tracker.reading.start_at({PARTITION: 0})

    for offset in range(60):
        world.tracker.track([a_kafka_record(offset)])
        world.pass_time(1)

    assert world.admin.asked == 0
    assert world.watch.problem() is None


def test_an_idle_worker_asks_now_and_then() -> None:
    """Bounded: a question each ASK_SECONDS."""
    world = World()

    world.pass_time(60)

    assert 6 <= world.admin.asked <= 60 / ASK_SECONDS  # of one topic


def test_an_end_that_the_client_does_not_know_is_asked_for_soon() -> None:
    """While it fetches nothing it knows an old one, and the lag would be too small."""
    world = World()
    world.tracker.assign([PARTITION])
    world.admin.log = LogOffsets(0, 500)
    world.paused = True

    world.pass_time(ENDS_SECONDS)

    assert world.ends == {PARTITION: 500}


def test_where_the_group_stood_is_asked_at_an_assignment() -> None:
    """Once; where nothing was committed it is the log's start."""
    world = World()
    other = TopicPartition("in", 1)
    world.tracker.assign([PARTITION, other])
    world.admin.stood = {PARTITION: 7}
    world.admin.log = LogOffsets(2, 10)

    world.pass_time(1)
    asked = world.admin.asked
    world.tracker.reading.pass_to({PARTITION: 7, other: 2})
    assert world.tracker.commits.committable() == {}
    world.tracker.reading.pass_to({PARTITION: 8, other: 3})

    assert world.tracker.commits.committable() == {PARTITION: 8, other: 3}
    world.pass_time(1)
    assert world.admin.asked == asked


def test_only_what_lies_below_the_logs_start_counts_as_deleted(
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Compaction and markers leave gaps too; the line says from where to where."""
    world = World()
    world.tracker.assign([PARTITION])
    world.tracker.reading.start_at({PARTITION: 100})
    world.admin.log = LogOffsets(450, 1000)
    world.tracker.track([a_kafka_record(500)])
    world.tracker.track([a_kafka_record(700)])

    world.pass_time(2 * ASK_SECONDS)

    assert world.value("deleted_records_total", topic="in") == 350
    (line,) = [record for record in caplog.records if record.msg == "records_deleted_unread"]
    assert line.__dict__["fields"] == {
        "topic": "in",
        "partition": 0,
        "from_offset": 100,
        "to_offset": 450,
        "records": 350,
    }


def test_gaps_wait_for_an_answer() -> None:
    """A broker that is away for a while loses no count."""
    world = World()
    world.tracker.assign([PARTITION])
    world.tracker.reading.start_at({PARTITION: 100})
    world.admin.log = LogOffsets(500, 1000)
    world.tracker.track([a_kafka_record(500)])
    world.admin.error = BackendUnavailableError("no answer")
    world.pass_time(40)
    assert world.admin.closed > 0, "what it knows of the cluster may be old"
    world.admin.error = None

    world.pass_time(ASK_SECONDS)

    assert world.value("deleted_records_total", topic="in") == 400


def test_a_broker_that_refuses_answers_all_the_same(
    caplog: pytest.LogCaptureFixture, logged: Logged
) -> None:
    """A right that is missing is told, and is no outage."""
    world = World()
    world.admin.error = AuthenticationError("not allowed")

    world.pass_time(30)

    assert world.watch.problem() is None
    assert set(events(caplog)) == {"broker_refuses"}
    assert {line["problem"] for line in logged("broker_refuses")} == {"not allowed"}


def test_an_assignment_is_looked_at_at_once() -> None:
    """Once the worker has committed, the group does not tell any more where it stood."""
    world = World()
    asked = threading.Event()
    world.admin.on_committed = asked.set
    world.watch.start()
    try:
        world.tracker.assign([PARTITION])
        assert asked.wait(LIMIT_SECONDS)
    finally:
        world.watch.close(LIMIT_SECONDS)

    assert world.admin.closed == 1


def test_the_output_topics_limit_is_asked_for_again_while_results_are_refused() -> None:
    """Once a minute, so that one that was raised is taken; otherwise never."""
    world = World()

    world.pass_time(ASK_AGAIN_SECONDS)
    assert world.limit.max_bytes is None
    world.limit.note_refusal()
    world.pass_time(1)
    assert world.limit.max_bytes == 1000
    world.admin.max_message_bytes = "2000"
    world.limit.note_refusal()
    world.pass_time(ASK_AGAIN_SECONDS - 1)
    assert world.limit.max_bytes == 1000
    world.pass_time(1)

    assert world.limit.max_bytes == 2000
