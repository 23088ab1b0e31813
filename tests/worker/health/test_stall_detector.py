from tests.support.stages.records import ROUTE, ManualClock, a_kafka_record
from topicserve.wire.kafka_record import TopicPartition
from topicserve.worker.health.stall_detector import StallDetector
from topicserve.worker.health.unavailable_servables import UnavailableServables
from topicserve.worker.offsets.tracker import OffsetTracker


def test_a_turn_is_counted_whatever_it_finds() -> None:
    """A worker that gets nowhere still polls, and one that is held does not."""
    clock, tracker = ManualClock(), OffsetTracker()
    detector = StallDetector(tracker, UnavailableServables(clock), clock)
    tracker.assign([TopicPartition("in", 0)])
    tracker.track([a_kafka_record(0)])

    clock.advance(20)
    detector.note()
    clock.advance(11)

    assert detector.turn_seconds() == 11
    assert detector.stalled_seconds() == 31


def test_a_servable_that_is_away_is_no_stall() -> None:
    """A restart does not bring it back. Once no batch comes back any more, time counts again."""
    clock, tracker = ManualClock(), OffsetTracker()
    unavailable = UnavailableServables(clock)
    detector = StallDetector(tracker, unavailable, clock)
    tracker.assign([TopicPartition("in", 0)])
    tracker.track([a_kafka_record(0)])

    for _ in range(40):
        clock.advance(10)
        unavailable.note(ROUTE, "refused")
    detector.note()
    assert detector.stalled_seconds() == 0

    clock.advance(31)
    detector.note()
    assert detector.stalled_seconds() == 31
